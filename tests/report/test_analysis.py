"""What a report computes: comparisons, curves, languages, price, rationales; whatever a run holds."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiatkit.metrics import Estimate
from fiatkit.report import load_run
from fiatkit.report.analysis import analysis
from fiatkit.report.curves import _outcome, crossover, curves, overtakes
from fiatkit.report.family import family
from fiatkit.report.gain import trends
from fiatkit.report.languages import languages
from fiatkit.report.price import PriceLine, Spent, break_even, prices
from fiatkit.report.rationales import rationales
from fiatkit.report.run import Run
from tests.report.second_routine import Folder
from tests.report.synthetic import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(make_run(tmp_path_factory.mktemp("report") / "run", seeds=(0, 1, 2)))


def test_every_recipe_is_compared_with_fiat_at_each_size(run: Run) -> None:
    found = family(run)
    assert found.reference == "fiat"
    assert [(c.a_size, c.b) for c in found.comparisons[:5]] == [
        (200, name) for name in ("icl", "icl_constrained", "lora", "instruct", "finetune")
    ]
    assert len(found.comparisons) == 15, "floors are no recipes"
    finetune = found.of("finetune")
    assert finetune is not None and finetune.verdict == "A better"
    assert finetune.words == "fiat on 200 rows is better than finetune on 200 rows"
    for comparison in found.comparisons:
        assert comparison.test is not None and comparison.p_holm is not None
        assert comparison.p_holm >= comparison.test.p
        told = comparison.p_holm <= 0.05 and comparison.difference.excludes_zero
        assert (comparison.verdict == "not distinguishable") != told
        assert comparison.mcnemar.p is None and "group" in comparison.mcnemar.reason


def test_equal_recipes_are_not_distinguishable(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", recipes=("fiat", "instruct"), sizes=(50,), seeds=(0,))
    for name in ("predictions.jsonl", "cell.json"):
        text = (folder / "cells" / "fiat-n50-s0" / name).read_text()
        (folder / "cells" / "instruct-n50-s0" / name).write_text(
            text.replace('"fiat"', '"instruct"')
        )
    (found,) = family(load_run(folder)).comparisons
    assert (found.verdict, found.difference.value) == ("not distinguishable", 0)
    assert found.test is not None and found.test.p == 1
    assert found.tellable is None, "without any spread nothing can be said"


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    import shutil

    folder = make_run(tmp_path / "run", recipes=("fiat", "instruct"), sizes=(50,), seeds=(0, 1, 2))
    shutil.rmtree(folder / "cells" / "instruct-n50-s1")
    (found,) = family(load_run(folder)).comparisons
    assert found.seeds == 2
    for seed in (0, 2):
        shutil.rmtree(folder / "cells" / f"instruct-n50-s{seed}")
    assert family(load_run(folder)).comparisons == []


def test_curves_show_rows_and_groups_with_an_interval_for_every_recipe(run: Run) -> None:
    found = curves(run)
    assert found.sizes == [50, 100, 200]
    by_name = {curve.recipe: curve for curve in found.curves}
    assert [(p.rows, p.groups, p.seeds) for p in by_name["fiat"].points] == [
        (50, 45, 3), (100, 90, 3), (200, 180, 3)
    ]  # fmt: skip
    assert by_name["icl"].points == [] and by_name["icl"].level is not None
    for curve in found.curves:
        for score in [p.score for p in curve.points] or [curve.level]:
            assert score is not None and score.low is not None and score.high is not None
            assert score.low <= (score.value or 0) <= score.high


def test_where_differences_turn_positive_is_found_on_log_rows() -> None:
    logs = np.log([100, 1000, 10000])
    found = np.exp(overtakes(logs, np.array([[-1.0, 1, 2], [-3, -1, 1], [1, -2, 2]])))
    assert found == pytest.approx([100 * 10**0.5, 1000 * 10**0.5, 1000 * 10**0.5])
    assert overtakes(logs, np.array([[1.0, 1, 1]]))[0] == -math.inf
    assert overtakes(logs, np.array([[1.0, 1, -1]]))[0] == math.inf


def test_the_outcome_of_two_curves() -> None:
    assert _outcome([1, 1, 1]) == "none in the range"
    assert _outcome([-1, 0, 1]) == "crosses"
    assert _outcome([0, 1, 1]) == "not distinguishable"
    assert _outcome([0, 0]) == "not distinguishable"


def test_a_known_crossing_lies_in_its_interval(tmp_path: Path, monkeypatch: Any) -> None:
    """instruct has 0.60 throughout; fiat 0.40 on 100 rows and 0.80 on 400: they cross at 200."""
    from tests.report import synthetic

    skill = {("fiat", 100): 0.4, ("fiat", 400): 0.8}
    plain = synthetic._predict

    def predict(row: Any, plan: Any, rng: Any, labels: Any, fail: float) -> Any:
        wanted = skill.get((plan["recipe"], plan["size"]), 0.6)
        monkeypatch.setitem(
            synthetic.SKILL, plan["recipe"], wanted - plan["size"] / 200 * 0.12 + 0.06
        )
        return plain(row, plan, rng, labels, fail)

    monkeypatch.setattr(synthetic, "_predict", predict)
    folder = make_run(
        tmp_path / "run", recipes=("instruct", "fiat"), sizes=(100, 400), seeds=(0, 1, 2),
        groups=120, fail=0.0, metric_names=("accuracy",),
    )  # fmt: skip
    found = crossover(load_run(folder), "fiat", "instruct")
    assert found is not None and (found.outcome, found.ahead) == ("crosses", "fiat")
    assert found.rows.low is not None and found.rows.high is not None
    assert found.rows.low < 200 < found.rows.high < 400
    assert found.rows.value == pytest.approx(200, rel=0.25)
    assert found.groups == pytest.approx((found.rows.value or 0) * 0.9)
    assert found.share == pytest.approx(1.0, abs=0.01)


def test_languages_have_every_line_with_intervals(run: Run) -> None:
    found = languages(run)
    assert [language.code for language in found.languages] == found.averaged
    assert {language.rows for language in found.languages} == {40}
    fiat = next(line for line in found.lines if line.name == "fiat on 200 rows")
    assert list(fiat.scores) == found.averaged
    values = [score.value for score in fiat.scores.values()]
    assert fiat.macro.value == pytest.approx(np.mean([v for v in values if v is not None]))
    assert found.lowest is not None and found.highest is not None
    assert found.languages[0].tokens.tokens is None, "this run has no counts: unknown, not zero"
    assert found.gain is not None and len(found.gain.points) == 6


def test_the_naive_trend_sees_what_is_not_there_and_the_controlled_one_does_not() -> None:
    """8 languages that all gain 10 points; the large simulation is benchmarks/coverage.py."""
    naive_wrong = told_wrong = 0
    for seed in range(60):
        at, added, base, more = gained(seed, slope=0.0)
        naive, _, told = trends(at, added, base, more, 60, 59)
        naive_wrong += naive.slope.excludes_zero
        told_wrong += told
    assert naive_wrong >= 20
    assert told_wrong <= stats.binom.ppf(0.999, 60, 0.05)


def test_a_trend_that_is_there_is_found_with_its_slope() -> None:
    at, added, base, more = gained(1, slope=-0.8, groups=600)
    naive, controlled, told = trends(at, added, base, more, 600, 599)
    assert told and controlled.slope.excludes_zero
    assert controlled.slope.low is not None and controlled.slope.high is not None
    assert controlled.slope.low <= -0.8 <= controlled.slope.high
    assert controlled.correlation.value is not None and controlled.correlation.value < -0.8
    assert naive.slope.value is not None


def gained(seed: int, slope: float, groups: int = 60) -> tuple[np.ndarray, ...]:
    """Baselines and gains of 8 languages, and the same on 300 resamples of the groups."""
    rng = np.random.default_rng(seed)
    base = 0.5 + 0.15 * np.linspace(-1, 1, 8) * (slope != 0)
    more = 0.1 + slope * (base - 0.5)
    without, with_it = (100.0 * (rng.random((groups, 8)) < p) for p in (base, base + more))
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=300) / groups
    difference = with_it - without
    return without.mean(axis=0), difference.mean(axis=0), drawn @ without, drawn @ difference


def spent(seconds: float | None) -> Spent:
    return Spent(0, None, None, seconds, {}, None)


@pytest.mark.parametrize(
    ("fixed", "each", "outcome", "volume"),
    [
        ((0, 10), (5, 5), "always", None),
        ((10, 0), (5, 5), "never", None),
        ((5, 5), (5, 5), "the same", None),
        ((100, 0), (1, 3), "from", 50_000),
        ((0, 100), (3, 1), "from", 50_000),
        ((None, 100), (3, 1), "unknown", None),
    ],
)
def test_break_even(fixed: Any, each: Any, outcome: str, volume: float | None) -> None:
    a, b = (
        PriceLine(name, None, False, Estimate(None), spent(once), spent(thousand))
        for name, once, thousand in zip("ab", fixed, each, strict=True)
    )
    found = break_even(a, b, "seconds")
    assert (found.outcome, found.predictions) == (outcome, volume)
    assert break_even(a, b, "dollars").outcome == "unknown", "unknown prices stay unknown"
    assert found.words
    if outcome == "from":
        assert found.cheaper == ("a" if each[0] < each[1] else "b")


def test_price_parts_what_is_paid_once_from_what_each_prediction_costs(run: Run) -> None:
    found = prices(run)
    fiat = next(line for line in found.lines if line.name == "fiat on 200 rows")
    assert fiat.fitting.calls == 260, "training and dev rows"
    assert fiat.serving.calls == pytest.approx(1000), "one call a prediction"
    assert fiat.serving.prompt_tokens == pytest.approx(343_000, rel=0.01)
    assert fiat.serving.dollars == 0 and found.unit == "seconds", "a model in this process"
    instruct = next(line for line in found.lines if line.name == "instruct on 200 rows")
    assert instruct.serving.calls == 0 and instruct.fitting.seconds == 280


def test_the_rationales_are_examined(run: Run) -> None:
    found = rationales(run)
    assert found is not None and found.rows == 240
    right = sum(
        row.rationale is not None and row.rationale.answer == row.target for row in run.rows
    )
    assert found.large_right.value == pytest.approx(100 * right / 240)
    assert sum(part.rows for part in found.parts) == 240
    assert sum(part.rows for part in found.lengths) == 240
    assert found.overruling is not None and found.overruling.overruled.value is not None
    pairs = [
        (row, cell.predictions[row.id])
        for cell in run.cells
        if (cell.recipe, cell.record.size) == ("fiat", 200)
        for row in run.rows
        if row.rationale and row.rationale.answer is not None
    ]
    whole = [(row, p) for row, p in pairs if p.status == "ok"]
    other = [(row, p) for row, p in whole if row.rationale and p.answer != row.rationale.answer]
    assert found.overruling.answers == len(whole)
    assert found.overruling.overruled.value == pytest.approx(100 * len(other) / len(whole))
    hits = sum(p.answer == row.target for row, p in other)
    assert found.overruling.right.value == pytest.approx(100 * hits / len(other))


def test_the_analysis_is_plain_json_and_deterministic(run: Run) -> None:
    told = json.dumps(analysis(run), allow_nan=False)
    assert json.loads(told)["comparisons"]["reference"] == "fiat"
    assert told == json.dumps(analysis(load_run(run.folder)), allow_nan=False)


def test_R08_numbers_equal_those_of_a_second_routine(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("icl", "instruct", "fiat"), sizes=(50, 200), groups=25,
        languages=("sw", "am"), metric_names=("accuracy",), fail=0.05,
    )  # fmt: skip
    again, run = Folder(folder), load_run(folder)
    for line in languages(run).lines:
        key = line.recipe, line.size
        assert line.macro.value == pytest.approx(again.score(key))
        for name, score in line.scores.items():
            marks = [
                marks[i]
                for marks in again.marks[key].values()
                for i, row in again.rows.items()
                if row["language"] == name
            ]
            assert score.value == pytest.approx(sum(marks) / len(marks))
    for c in family(run).comparisons:
        assert c.difference.value == pytest.approx(
            again.difference((c.a, c.a_size), (c.b, c.b_size))
        )
    found = family(run).of("icl")
    assert found is not None and found.test is not None
    ours, theirs = ("fiat", 200), ("icl", None)
    assert found.test.p == pytest.approx(again.permuted(ours, theirs, 600), abs=0.05)
    low, high, spread = again.percentiles(ours, theirs, 600)
    assert found.difference.low is not None and found.difference.high is not None
    assert found.difference.low <= low + 1 and found.difference.high >= high - 1, "never narrower"
    assert found.tellable is not None and found.tellable > 2.8 * spread
    fiat = next(line for line in prices(run).lines if line.name == "fiat on 200 rows")
    record = again.records["fiat-n200-s0"]
    assert fiat.fitting.calls + fiat.serving.calls * 50 / 1000 == record["usage"]["calls"]


@pytest.mark.parametrize("broken", ["failed", "one class", "nan", "no cells but a floor", "empty"])
def test_R04_everything_is_still_computed_and_says_what_is_not_known(
    tmp_path: Path, broken: str
) -> None:
    metric = "auc_pr" if broken in ("nan", "one class") else "accuracy"
    recipes = ("majority",) if broken.startswith("no cells") else ("icl", "instruct", "fiat")
    folder = make_run(
        tmp_path / "run", recipes=recipes, sizes=(50, 200), seeds=(0,), groups=12,
        fail=1.0 if broken == "failed" else 0.0, metric_names=(metric,),
        labels=["true", "false"],
    )  # fmt: skip
    if broken == "nan":
        spoil(folder / "cells" / "fiat-n200-s0" / "predictions.jsonl")
    if broken == "one class":
        text = (folder / "test.jsonl").read_text()
        (folder / "test.jsonl").write_text(text.replace('"target": "true"', '"target": "false"'))
    if broken == "empty":
        rows = (folder / "test.jsonl").read_text().splitlines()
        (folder / "test.jsonl").write_text("".join(line + "\n" for line in rows[:1]))
    run = load_run(folder)
    told = json.loads(json.dumps(analysis(run), allow_nan=False))
    if broken == "failed":
        assert {line["macro"]["value"] for line in told["languages"]["lines"]} == {0}
        assert told["rationales"]["overruling"]["overruled"]["value"] is None, "nothing to overrule"
        assert told["rationales"]["overruling"]["right"]["value"] is None, "no 0/0"
        assert {c["verdict"] for c in told["comparisons"]["comparisons"]} == {"not distinguishable"}
    if broken == "one class":  # no positive row: the area is undefined, not 0 or 100
        assert {line["macro"]["value"] for line in told["languages"]["lines"]} == {None}
        assert {c["verdict"] for c in told["comparisons"]["comparisons"]} == {"undefined"}
    if broken == "nan":
        assert list(told["problems"]) == ["fiat, 200 rows, seed 0"]
        assert "no number" in told["problems"]["fiat, 200 rows, seed 0"]
        assert [
            c["a_size"] for c in told["comparisons"]["comparisons"] if c["b"] == "instruct"
        ] == [50]
    if broken.startswith("no cells"):
        assert told["comparisons"]["comparisons"] == []
    if broken == "empty":
        assert told["comparisons"]["groups"] == 1
        assert all(c["difference"]["low"] is None for c in told["comparisons"]["comparisons"])


def spoil(path: Path) -> None:
    """A probability that is no number, as another program may write it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["probabilities"] = {"true": float("nan"), "false": 0.5}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
