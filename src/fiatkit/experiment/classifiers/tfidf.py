"""TF-IDF of character n-grams and logistic regression; also the floor of this name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from fiatkit.config import RunConfig
from fiatkit.experiment.classifiers import Answered, chosen, predict_majority, text_of
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.records import Example, Prediction, Query, Rationale


def why_not(config: RunConfig) -> str:
    """Nothing stands in its way."""
    return ""


def answer(plan: Plan, cell: Cell, rationales: Mapping[str, Rationale]) -> Answered:
    """Train on the cell's rows and answer the test rows."""
    began = time.monotonic()
    queries = [e.query for e in plan.data.test]
    found = predict_tfidf(plan.train_rows(cell), queries, plan.task.choices or [])
    return Answered(found, {"tuning": 0.0, "prediction": time.monotonic() - began})


def predict_tfidf(
    train: Sequence[Example], queries: Sequence[Query], labels: Sequence[str]
) -> list[Prediction]:
    """scikit-learn's TfidfVectorizer and LogisticRegression on character n-grams of 1 to 4.

    Character n-grams serve languages without blanks between words as well.
    """
    if len({example.target for example in train}) < 2:
        return predict_majority(train, queries, labels)
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit([text_of(e.query) for e in train], [e.target for e in train])
    known = [str(label) for label in model.classes_]
    return chosen(queries, known, model.predict_proba([text_of(q) for q in queries]), labels)
