"""Floor lines for label tasks: what costs nothing. A recipe that stays below has learnt nothing."""

from __future__ import annotations

from fiatkit.experiment.classifiers import predict_majority
from fiatkit.experiment.classifiers.tfidf import predict_tfidf

LABELS = {
    "majority": "Floor: the most frequent training label",
    "tfidf": "Floor: TF-IDF of character n-grams + logistic regression",
}
PREDICT = {"majority": predict_majority, "tfidf": predict_tfidf}
