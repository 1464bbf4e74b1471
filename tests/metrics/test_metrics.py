"""Metrics against reference values, other implementations, and simulated data of known truth."""

import json
import os
from dataclasses import replace
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


LABELS = ["true", "false"]


def spoken(number: int, right: bool, language: str, group: str = "") -> ScoredRow:
    return row(number, "a", "a" if right else "b", language, group)


def test_a_failed_row_is_the_worst_for_auc_pr_as_scikit_learn_counts_it() -> None:
    from sklearn.metrics import average_precision_score

    shares = [0.9, 0.8, None, 0.3, None]
    truth = [1, 0, 1, 1, 0]
    rows = [
        row(
            i,
            LABELS[1 - t],
            None if share is None else "true",
            probabilities=None if share is None else {"true": share, "false": 1 - share},
        )
        for i, (t, share) in enumerate(zip(truth, shares, strict=True))
    ]
    filled = [float(1 - t) if s is None else s for t, s in zip(truth, shares, strict=True)]
    theirs = 100 * average_precision_score(truth, filled)
    assert metrics.corpus("auc_pr", rows, LABELS) == pytest.approx(theirs)


def test_a_language_whose_rows_all_failed_counts_and_one_without_positives_leaves_no_mean() -> None:
    good = {"true": 0.9, "false": 0.1}
    rows = [row(0, "true", "true", "sw", probabilities=good), row(1, "true", None, "yo")]
    rows.append(row(2, "false", None, "yo"))
    score = metrics.evaluate("auc_pr", rows, LABELS)
    assert score.languages == {"sw": 100, "yo": 50}
    assert score.value == 75
    rows.append(row(3, "false", "false", "xh", probabilities=good))
    score = metrics.evaluate("auc_pr", rows, LABELS)
    assert score.languages["xh"] is None
    assert (score.value, score.low, score.high) == (None, None, None)
    assert score.detail == {"positive": "true", "positive_share": 0.5}


def test_text_only_recipes_have_no_auc_pr_even_if_some_rows_failed() -> None:
    rows = [row(0, "true", "true"), row(1, "false", None)]
    assert metrics.evaluate("auc_pr", rows, LABELS).value is None
    assert metrics.difference("auc_pr", rows, rows, LABELS) is None


def test_a_failed_row_with_an_answer_is_still_wrong() -> None:
    example = Example(Query("r0", {"t": "x"}), "a", ("a",), "g")
    rows = [ScoredRow(example, Prediction("r0", "a", "skipped:too_long"))]
    for name in ("accuracy", "macro_f1", "qa_f1", "exact_match"):
        assert metrics.corpus(name, rows, ["a"]) == 0


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "auc_pr", "qa_f1", "exact_match"])
def test_every_metric_recomputed_row_by_row_equals_its_weighted_form(name: str) -> None:
    """A resample's score equals that of a list in which its rows really stand twice or not."""
    rows = random_rows(3, 30)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, size=30)
    repeated = [
        row(
            100 * copy + i,
            r.example.target,
            r.prediction.answer,
            probabilities=dict(r.prediction.probabilities or {}),
        )
        for i, r in enumerate(rows)
        for copy in range(weights[i])
    ]
    from fiatkit.metrics._measure import Measure
    from fiatkit.metrics._resampling import groups_of

    rows = [
        ScoredRow(replace(r.example, group=f"g{i:02}"), r.prediction) for i, r in enumerate(rows)
    ]
    measure = Measure(name, rows, groups_of(rows), list("abc"))
    got = measure.scores(weights[None, :].astype(float))[1][0]
    assert got == pytest.approx(metrics.corpus(name, repeated, list("abc")))


def test_order_of_rows_changes_nothing() -> None:
    rows = [spoken(i, i % 3 > 0, ["sw", "yo"][i % 2], f"g{i // 4}") for i in range(60)]
    backwards = metrics.evaluate("accuracy", rows[::-1], ["a", "b"])
    assert metrics.evaluate("accuracy", rows, ["a", "b"]) == backwards


def test_memory_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from fiatkit.metrics import _resampling

    rows = [spoken(i, i % 3 > 0, ["sw", "yo"][i % 2], f"g{i // 4}") for i in range(60)]
    whole = metrics.evaluate("accuracy", rows, ["a", "b"])
    monkeypatch.setattr(_resampling, "BLOCK", 500)
    assert metrics.evaluate("accuracy", rows, ["a", "b"]) == whole


def test_languages_are_strata_unless_groups_cross_them() -> None:
    from fiatkit.metrics._resampling import groups_of, resampled

    def drawn(rows: list[ScoredRow]) -> np.ndarray:
        groups = groups_of(rows)
        return next(resampled(groups, 50, 0))[:, groups.of_row]

    apart = [spoken(i, True, ["sw", "yo"][i % 2]) for i in range(10)]
    weights = drawn(apart)
    assert (weights[:, ::2].sum(axis=1) == 5).all(), "each language keeps its groups"
    crossing = [spoken(i, True, ["sw", "yo"][i % 2], f"g{i // 2}") for i in range(10)]
    weights = drawn(crossing)
    assert (weights[:, ::2] == weights[:, 1::2]).all(), "rows of a group stay together"


def test_a_language_absent_from_a_resample_does_not_undo_the_interval() -> None:
    rows = [spoken(0, True, "sw", "g0"), spoken(1, True, "yo", "g0"), spoken(2, False, "xh", "g1")]
    score = metrics.evaluate("accuracy", rows, ["a", "b"])
    assert score.value == pytest.approx(200 / 3)
    assert (score.low, score.high) == (0, 100)


def simulate(trial: int, gap: float) -> tuple[list[ScoredRow], list[ScoredRow], float]:
    """Two recipes on groups that cross 3 languages of unequal size, with shared difficulty."""
    rng = np.random.default_rng(trial)
    a, b = [], []
    for group in range(50):
        ease = rng.normal(0, 0.25)
        for language in ("sw", "yo", "xh")[: 1 + group % 3]:
            number = len(a)
            a.append(spoken(number, rng.random() < 0.5 + gap + ease, language, f"g{group}"))
            b.append(spoken(number, rng.random() < 0.5 + ease, language, f"g{group}"))
    return a, b, 100 * gap


def test_paired_differences_cover_the_truth_across_languages_and_groups() -> None:
    covered = 0
    for trial in range(300):
        a, b, truth = simulate(trial, 0.1)
        found = metrics.difference("accuracy", a, b, ["a", "b"], resamples=300, seed=trial)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / 300 <= 0.985


def test_ignoring_groups_would_be_too_sure() -> None:
    marks = np.repeat(np.random.default_rng(0).random(40) < 0.6, 5)
    kept = [row(i, "a", "a" if m else "b", group=f"g{i // 5}") for i, m in enumerate(marks)]
    loose = [row(i, "a", "a" if m else "b") for i, m in enumerate(marks)]
    wide, narrow = (metrics.evaluate("accuracy", rows, ["a", "b"]) for rows in (kept, loose))
    assert wide.low is not None and wide.high is not None
    assert narrow.low is not None and narrow.high is not None
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)


def test_seeds_are_a_second_level() -> None:
    """Two seeds far apart widen the interval; paired seeds share what the seed decides."""
    good = [spoken(i, i % 10 < 9, "") for i in range(200)]
    bad = [spoken(i, i % 10 < 5, "") for i in range(200)]
    both = metrics.difference("accuracy", [good, bad], [good, bad], ["a", "b"])
    assert both is not None
    unseen = 100 * (1 - 0.025 ** (1 / 200))
    assert (both.value, both.low, both.high) == pytest.approx((0, -unseen, unseen))
    one = metrics.difference("accuracy", [good, good], [bad], ["a", "b"])
    two = metrics.difference("accuracy", [good, bad], [bad], ["a", "b"])
    assert one is not None and two is not None
    assert one.low > 30 and two.low == -100, "two seeds that differ say little of the next one"
    score = metrics.resample("accuracy", [good, bad], ["a", "b"]).score([0, 1])
    assert score.low is not None and score.high is not None
    assert score.low < 60 and score.high > 80
    with pytest.raises(DataError, match="cannot be paired"):
        metrics.difference("accuracy", [good, bad], [good, bad, bad], ["a", "b"])


def test_rows_of_one_id_but_other_targets_are_refused() -> None:
    with pytest.raises(DataError, match="another target"):
        metrics.difference("accuracy", [row(0, "a", "a")], [row(0, "b", "a")], ["a", "b"])
    with pytest.raises(DataError, match="no rows"):
        metrics.difference("accuracy", [], [row(0, "a", "a")], ["a"])
    with pytest.raises(DataError, match="label set"):
        metrics.evaluate("auc_pr", [row(0, "a", "a")], None)
    partial = [row(0, "true", "true", probabilities={"false": 1.0})]
    with pytest.raises(DataError, match='no probability of the label "true"'):
        metrics.corpus("auc_pr", partial, LABELS)


def test_a_metric_that_gives_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fiatkit.metrics import accuracy

    monkeypatch.setattr(accuracy, "per_row", lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(DataError, match="no number"):
        metrics.evaluate("accuracy", [row(0, "a", "a")], ["a"])
