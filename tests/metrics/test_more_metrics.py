"""The metrics beyond accuracy and QA F1, against reference values and other implementations."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fiatkit import metrics
from fiatkit.metrics.span_f1 import counts
from fiatkit.records import Example, Prediction, Query, ScoredRow

SPANS = [  # target, prediction, (TP, FP, FN), F1: the definition's examples
    ("PER: Ali Manzu", "PER: Ali Manzu", (1, 0, 0), 100),
    ("PER: Ali Manzu", "per: ali manzu", (0, 1, 1), 0),
    ("DATE: 1976 $$ ORG: VOA", "ORG: VOA $$ DATE: 1976", (2, 0, 0), 100),
    ("", "", (0, 0, 0), 0),
    ("", "PER: X", (0, 1, 0), 0),
    ("PER: X", "", (0, 0, 1), 0),
    ("LOC: A $$ LOC: A", "LOC: A", (1, 0, 1), 66.666667),
    ("LOC: A", "LOC: A $$ LOC: A", (1, 1, 0), 66.666667),
    ("DATE: 10:30 $$ PER: Ali", "PER: Ali", (1, 0, 0), 100),
    ("DATE: 10:30", "DATE: 10:30", (0, 0, 0), 0),
    ("PER: Ali$$ORG: B", "PER: Ali $$ ORG: B", (0, 2, 0), 0),
    ("PER:Ali $$ ORG:B", "PER: Ali $$ ORG: B", (2, 0, 0), 100),
    ("PER: Ali", "There are no entities", (0, 0, 1), 0),
    ("PER: Ali Manzu", "PER: Ali", (0, 1, 1), 0),
]
RATINGS = ["1", "2", "3", "4", "5"]


def row(
    number: int,
    target: str,
    answer: str | None,
    *,
    language: str = "",
    references: tuple[str, ...] = (),
    probabilities: dict[str, float] | None = None,
) -> ScoredRow:
    identity = f"r{number}"
    status = "ok" if answer is not None else "failed:x"
    example = Example(
        Query(identity, {"t": "x"}, language), target, references or (target,), identity
    )
    return ScoredRow(example, Prediction(identity, answer, status, probabilities))


def drawn(seed: int, names: list[str], n: int = 150) -> list[ScoredRow]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        shares = rng.dirichlet(np.ones(len(names))).round(1)
        shares /= shares.sum()
        given = dict(zip(names, (float(s) for s in shares), strict=True))
        rows.append(row(i, str(rng.choice(names)), str(rng.choice(names)), probabilities=given))
    return rows


@pytest.mark.parametrize(("target", "prediction", "expected", "f1"), SPANS)
def test_span_f1_by_the_definition(
    target: str, prediction: str, expected: tuple[int, int, int], f1: float
) -> None:
    assert counts(target, prediction) == expected
    found = metrics.corpus("span_f1", [row(0, target, prediction)], None)
    assert found == pytest.approx(f1, abs=1e-6)


def test_span_f1_of_a_corpus_sums_the_counts() -> None:
    rows = [row(i, target, prediction) for i, (target, prediction, _, _) in enumerate(SPANS)]
    assert metrics.corpus("span_f1", rows, None) == pytest.approx(59.259259, abs=1e-6)


def test_span_f1_counts_a_failed_row_as_no_entity() -> None:
    rows = [row(0, "PER: A", "PER: A"), row(1, "PER: B", None)]
    assert metrics.corpus("span_f1", rows, None) == pytest.approx(200 / 3, abs=1e-6)


@pytest.mark.skipif("FIATKIT_DATA" not in os.environ, reason="FIATKIT_DATA is not set")
def test_official_span_f1_values() -> None:
    path = Path(os.environ["FIATKIT_DATA"]) / "metrics_reference" / "reference_values.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    pairs = values["ner_span_f1"]
    rows = [row(i, p["target"], p["prediction"]) for i, p in enumerate(pairs)]
    assert len(rows) == 14
    for one, pair in zip(rows, pairs, strict=True):
        found = metrics.corpus("span_f1", [one], None)
        assert found == pytest.approx(pair["span_f1"], abs=1e-9)
    whole = metrics.corpus("span_f1", rows, None)
    assert whole == pytest.approx(values["corpus_ner_span_f1"], abs=1e-9)


def test_the_best_reference_counts_for_each_score_apart() -> None:
    one = row(0, "1962", "the year 1962", references=("1962", "year 1962", "in May 1962"))
    other = row(1, "a big red dog", None, references=("dog",))
    assert metrics.corpus("squad_f1", [one, other], None) == pytest.approx(50)
    assert metrics.corpus("squad_exact_match", [one, other], None) == pytest.approx(50)
    assert metrics.corpus("qa_f1", [one], None) == pytest.approx(200 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_f1_kappa_and_roc_auc_equal_scikit_learn(seed: int) -> None:
    from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

    rows = drawn(seed, RATINGS)
    targets = [r.example.target for r in rows]
    answers = [str(r.prediction.answer) for r in rows]
    theirs = 100 * f1_score(targets, answers, average="weighted")
    assert metrics.corpus("weighted_f1", rows, RATINGS) == pytest.approx(theirs, abs=1e-9)
    theirs = 100 * cohen_kappa_score(targets, answers, weights="quadratic", labels=RATINGS)
    assert metrics.corpus("quadratic_kappa", rows, RATINGS) == pytest.approx(theirs, abs=1e-9)
    shares = np.array([list((r.prediction.probabilities or {}).values()) for r in rows])
    theirs = 100 * roc_auc_score(targets, shares, multi_class="ovr", labels=RATINGS)
    assert metrics.corpus("roc_auc", rows, RATINGS) == pytest.approx(theirs, abs=1e-9)
    two = drawn(seed, ["no", "yes"])
    shares = np.array([(r.prediction.probabilities or {})["no"] for r in two])
    theirs = 100 * roc_auc_score([r.example.target == "no" for r in two], shares)
    assert metrics.corpus("roc_auc", two, ["no", "yes"]) == pytest.approx(theirs, abs=1e-9)


def test_kappa_takes_a_failed_row_as_far_off() -> None:
    from sklearn.metrics import cohen_kappa_score

    rows = [row(0, "1", "1"), row(1, "2", None), row(2, "5", "none of them"), row(3, "4", "4")]
    theirs = 100 * cohen_kappa_score(
        [1, 2, 5, 4], [1, 5, 1, 4], weights="quadratic", labels=[1, 2, 3, 4, 5]
    )
    assert metrics.corpus("quadratic_kappa", rows, RATINGS) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_f1_equals_scikit_learn(seed: int) -> None:
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    rng = np.random.default_rng(seed)
    names = ["billing", "outage", "praise"]
    sets = [
        tuple([n for n in names if rng.random() < share] for share in (0.4, 0.5)) for _ in range(80)
    ]
    texts = [("; ".join(wanted) or "none", "; ".join(given) or "none") for wanted, given in sets]
    rows = [row(i, wanted, given) for i, (wanted, given) in enumerate(texts)]
    binary = MultiLabelBinarizer(classes=names)
    target = binary.fit_transform([wanted for wanted, _ in sets])
    answer = binary.transform([given for _, given in sets])
    for metric, average in (("multilabel_f1", "micro"), ("multilabel_macro_f1", "macro")):
        theirs = 100 * f1_score(target, answer, average=average, zero_division=0)
        assert metrics.corpus(metric, rows, None) == pytest.approx(theirs, abs=1e-9)


def test_multilabel_f1_counts_labels_outside_the_set_against_the_answer() -> None:
    rows = [row(0, "billing; outage", "billing; weather"), row(1, "none", None)]
    assert metrics.corpus("multilabel_f1", rows, None) == pytest.approx(50)
    assert metrics.corpus("multilabel_f1", [row(0, "none", "none")], None) is None


def test_chrf_equals_sacrebleu_and_prints_its_signature() -> None:
    from sacrebleu.metrics.chrf import CHRF

    texts = [
        ("The cat sat.", "A cat sat down.", ("The cat sat.", "A cat was sitting.")),
        ("Ọmọ náà sùn", "Omo naa sun", ("Ọmọ náà sùn",)),
        ("東京に行く", "東京へ行く", ("東京に行く",)),
    ]
    rows = [row(i, target, answer, references=r) for i, (target, answer, r) in enumerate(texts)]
    rows.append(row(9, "Nothing came back", None))
    references = [
        [r.example.references[0] for r in rows],
        [r.example.references[1] if len(r.example.references) > 1 else None for r in rows],
    ]
    theirs = CHRF().corpus_score([r.prediction.answer or "" for r in rows], references).score
    assert metrics.corpus("chrf", rows, None) == pytest.approx(theirs, abs=1e-9)
    score = metrics.evaluate("chrf", rows, None, resamples=50)
    assert score.low is not None and score.high is not None and score.low < score.high
    assert "nc:6" in score.detail["signature"]


def test_a_benchmarks_average_is_over_its_languages_and_no_others() -> None:
    rows = [row(0, "a", "a", language="sw"), row(1, "a", "b", language="en")]
    rows.append(row(2, "a", "b", language="te"))
    score = metrics.evaluate("accuracy", rows, ["a", "b"], averaged=["sw", "te"])
    assert score.value == 50
    assert score.languages == {"sw": 100, "en": 0, "te": 0}
    assert score.detail["averaged"] == ["sw", "te"]


def test_a_benchmarks_average_is_undefined_where_a_language_is_missing() -> None:
    rows = [row(0, "a", "a", language="sw")]
    score = metrics.evaluate("accuracy", rows, ["a", "b"], averaged=["sw", "te"])
    assert score.value is None
    assert score.micro == 100
    assert score.detail["languages_missing"] == ["te"]
    assert metrics.difference("accuracy", rows, rows, ["a", "b"], averaged=["sw", "te"]) is None
