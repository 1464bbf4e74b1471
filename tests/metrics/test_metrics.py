"""Metrics against reference values, other implementations, and simulated data of known truth."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fiatkit import metrics
from fiatkit.errors import DataError
from fiatkit.metrics.exact_match import exact_match
from fiatkit.metrics.qa_f1 import f1
from fiatkit.records import Example, Prediction, Query, ScoredRow

TABLE = [  # target, prediction, F1, EM: the definition's examples
    ("Barack Obama", "barack obama!", 100, 100),
    ("the year 1962", "1962", 200 / 3, 0),
    ("No Answer", "No Answer", 100, 100),
    ("No Answer", "1962", 0, 0),
    ("", "", 0, 100),
    ("a", "the", 0, 100),
    ("U.S.A.", "usa", 100, 100),
    ("Oluṣẹ́gun Ọbásanjọ́", "olusegun obasanjo", 0, 0),
    ("1961–1962", "1961 1962", 0, 0),
    ("পূর্ব পাকিস্তান", "পূর্ব পাকিস্তান।", 50, 0),
    ("well-known man", "well known man", 40, 0),
    ("2 2 3", "2 3 3", 200 / 3, 0),
    ("東京", "東京都", 0, 0),
    ("an apple a day", "apple day", 100, 100),
]


def row(
    number: int,
    target: str,
    answer: str | None,
    language: str = "",
    group: str = "",
    probabilities: dict[str, float] | None = None,
) -> ScoredRow:
    identity = f"r{number}"
    status = "ok" if answer is not None else "failed:x"
    example = Example(Query(identity, {"t": "x"}, language), target, (target,), group or identity)
    return ScoredRow(example, Prediction(identity, answer, status, probabilities))


@pytest.mark.parametrize(("target", "prediction", "score", "match"), TABLE)
def test_qa_f1_and_exact_match(target: str, prediction: str, score: float, match: float) -> None:
    assert f1(target, prediction) == pytest.approx(score, abs=1e-6)
    assert exact_match(target, prediction) == match


def test_qa_corpus() -> None:
    rows = [row(i, target, prediction) for i, (target, prediction, _, _) in enumerate(TABLE)]
    assert metrics.corpus("qa_f1", rows, None) == pytest.approx(44.523810, abs=1e-6)
    assert metrics.corpus("exact_match", rows, None) == pytest.approx(42.857143, abs=1e-6)


@pytest.mark.skipif("FIATKIT_DATA" not in os.environ, reason="FIATKIT_DATA is not set")
def test_official_reference_values() -> None:
    path = Path(os.environ["FIATKIT_DATA"]) / "metrics_reference" / "reference_values.json"
    pairs = json.loads(path.read_text(encoding="utf-8"))["qa_f1"]
    assert len(pairs) == 14
    for pair in pairs:
        assert f1(pair["target"], pair["prediction"]) == pytest.approx(pair["f1"], abs=1e-6)
        given = exact_match(pair["target"], pair["prediction"])
        assert given == pytest.approx(pair["em"], abs=1e-6)


def random_rows(seed: int, n: int = 120) -> list[ScoredRow]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        shares = rng.dirichlet([1, 1, 1]).round(1)
        target, answer = "abc"[rng.integers(3)], "abc"[rng.integers(3)]
        rows.append(row(i, target, answer, probabilities=dict(zip("abc", shares, strict=True))))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_and_auc_pr_equal_scikit_learn(seed: int) -> None:
    from sklearn.metrics import average_precision_score, f1_score

    rows = random_rows(seed)
    targets = [r.example.target for r in rows]
    answers = [r.prediction.answer for r in rows]
    theirs = 100 * f1_score(targets, answers, average="macro")
    assert metrics.corpus("macro_f1", rows, list("abc")) == pytest.approx(theirs, abs=1e-9)
    truth = [t == "a" for t in targets]
    scores = [(r.prediction.probabilities or {})["a"] for r in rows]
    theirs = 100 * average_precision_score(truth, scores)
    assert metrics.corpus("auc_pr", rows, list("abc")) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("gold", "scores", "area"),
    [([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6], 83.333333), ([1, 0, 0, 0], [0.5] * 4, 25.0)],
)
def test_average_precision_by_hand(gold: list[int], scores: list[float], area: float) -> None:
    rows = [
        row(i, "true" if g else "false", "true", probabilities={"true": s, "false": 1 - s})
        for i, (g, s) in enumerate(zip(gold, scores, strict=True))
    ]
    assert metrics.corpus("auc_pr", rows, ["true", "false"]) == pytest.approx(area, abs=1e-5)


def test_auc_pr_is_undefined_without_positives_or_probabilities() -> None:
    none = [row(0, "false", "false", probabilities={"true": 0.1, "false": 0.9})]
    assert metrics.corpus("auc_pr", none, ["true", "false"]) is None
    assert metrics.corpus("auc_pr", [row(0, "true", "true")], ["true", "false"]) is None


def test_a_failed_row_is_wrong_and_counted() -> None:
    rows = [row(0, "a", "a"), row(1, "a", None)]
    score = metrics.evaluate("accuracy", rows, ["a", "b"])
    assert score.value == 50
    assert score.counts == {"ok": 1, "failed:x": 1}


def test_the_mean_over_languages_is_unweighted() -> None:
    rows = [row(i, "a", "a", "sw") for i in range(9)] + [row(9, "a", "b", "yo")]
    score = metrics.evaluate("accuracy", rows, ["a", "b"])
    assert score.languages == {"sw": 100, "yo": 0}
    assert score.value == 50
    assert score.micro == 90


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.6
    a = [row(i, "a", "a" if right[i] or i % 8 == 0 else "b") for i in range(200)]
    b = [row(i, "a", "a" if right[i] else "b") for i in range(200)]
    found = metrics.difference("accuracy", [a], [b], ["a", "b"])
    assert found is not None
    assert found.distinguishable
    own = metrics.evaluate("accuracy", a, ["a", "b"])
    assert own.low is not None and own.high is not None
    assert found.high - found.low < (own.high - own.low) / 2


@pytest.mark.parametrize("size", [1, 4])
def test_intervals_cover_the_truth_with_and_without_groups(size: int) -> None:
    """400 simulated test sets; rows of one group are right or wrong together."""
    rng = np.random.default_rng(size)
    covered = 0
    for trial in range(400):
        marks = np.repeat(rng.random(60) < 0.7, size)
        rows = [
            row(i, "a", "a" if mark else "b", group=f"g{i // size}") for i, mark in enumerate(marks)
        ]
        score = metrics.evaluate("accuracy", rows, ["a", "b"], resamples=300, seed=trial)
        assert score.low is not None and score.high is not None
        covered += score.low <= 70 <= score.high
    assert 0.90 <= covered / 400 <= 0.98


def test_different_ids_duplicates_and_nan_are_refused() -> None:
    a, b = [row(0, "a", "a")], [row(1, "a", "a")]
    with pytest.raises(DataError, match="same test rows"):
        metrics.difference("accuracy", [a], [b], ["a", "b"])
    with pytest.raises(DataError, match="no rows"):
        metrics.evaluate("accuracy", [], ["a", "b"])
    with pytest.raises(DataError, match="same id"):
        metrics.evaluate("accuracy", a + a, ["a", "b"])
    broken = [row(0, "a", "a", probabilities={"a": float("nan")})]
    with pytest.raises(DataError, match="no number"):
        metrics.evaluate("accuracy", broken, ["a", "b"])
