"""Floor lines for label tasks: what costs nothing. A recipe that stays below has learnt nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fiatkit.records import Example, Prediction, Query

LABELS = {
    "majority": "Floor: the most frequent training label",
    "tfidf": "Floor: TF-IDF of character n-grams + logistic regression",
}


def predict_floor(
    name: str, train: Sequence[Example], queries: Sequence[Query], labels: Sequence[str]
) -> list[Prediction]:
    """Train a floor on `train` and answer `queries`.

    Args:
        name: "majority" or "tfidf".
        train: the rows that the recipes train on.
        queries: what to answer.
        labels: the task's label set, for the probabilities' order.
    """
    answer = _majority if name == "majority" else _tfidf
    return answer(train, queries, labels)


def _majority(
    train: Sequence[Example], queries: Sequence[Query], labels: Sequence[str]
) -> list[Prediction]:
    counts = Counter(example.target for example in train)
    order = {label: -index for index, label in enumerate(labels)}
    best = max(counts, key=lambda label: (counts[label], order.get(label, 0)))
    shares = {label: counts[label] / len(train) for label in labels}
    return [Prediction(query.id, best, "ok", shares, text=best) for query in queries]


def _tfidf(
    train: Sequence[Example], queries: Sequence[Query], labels: Sequence[str]
) -> list[Prediction]:
    """scikit-learn's TfidfVectorizer and LogisticRegression on character n-grams of 1 to 4.

    Character n-grams serve languages without blanks between words as well.
    """
    if len({example.target for example in train}) < 2:
        return _majority(train, queries, labels)
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit([_text(e.query) for e in train], [e.target for e in train])
    known = [str(label) for label in model.classes_]
    predictions = []
    for query, row in zip(queries, model.predict_proba([_text(q) for q in queries]), strict=True):
        shares = dict.fromkeys(labels, 0.0) | {
            label: float(share) for label, share in zip(known, row, strict=True)
        }
        best = max(known, key=lambda label: shares[label])
        predictions.append(Prediction(query.id, best, "ok", shares, text=best))
    return predictions


def _text(query: Query) -> str:
    return "\n".join(query.fields.values())
