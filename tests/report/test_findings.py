"""What a report claims: every "ahead", star and finding is the one corrected verdict."""

import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console
from scipy import special

from fiatkit.report import load_run, summarise, terminal_table, write_html
from fiatkit.report.analysis import analysis
from fiatkit.report.curves import curves
from fiatkit.report.evidence import evidence
from fiatkit.report.export import markdown
from fiatkit.report.family import family
from fiatkit.report.html import _blocks, _recipes
from fiatkit.report.languages import languages
from fiatkit.report.price import prices
from fiatkit.report.run import Run
from fiatkit.report.words import sentences
from tests.report.synthetic import make_run

RECIPES = ("icl", "icl_constrained", "instruct", "lora", "fiat", "small_icl", "finetune")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Few groups and many recipes: some intervals exclude zero where the corrected p is large."""
    return load_run(
        make_run(
            tmp_path_factory.mktemp("findings") / "run", recipes=RECIPES, sizes=(50, 200),
            seeds=(0,), groups=20, languages=("sw", "am", "es"), metric_names=("accuracy",),
        )
    )  # fmt: skip


def test_each_size_shows_what_is_not_tuned_against_fiat_of_that_size(run: Run) -> None:
    summary, found = summarise(run), family(run)
    versus = _recipes(run, summary)["versus"]
    for block in _blocks(summary):
        for line in block.lines:
            one = versus(line, block)
            if line.recipe == "fiat":
                assert one is None
            else:
                assert (one.b, one.a_size) == (line.recipe, block.size)
    assert found.of("icl", 50) != found.of("icl", 200) == found.of("icl")


def test_ahead_at_every_size_needs_the_corrected_test_at_every_size(run: Run) -> None:
    found, tested = evidence(run), family(run)
    looked_sure = 0
    for crossing in curves(run).crossovers:
        verdicts = {size: tested.of(crossing.b, size) for size in (50, 200)}
        told = [size for size, one in verdicts.items() if one is not None and one.distinguishable]
        assert crossing.told == told
        assert ("is ahead of" in crossing.words) == (told == [50, 200])
        pairs = [found.pair(("fiat", s), (one.b, one.b_size)) for s, one in verdicts.items() if one]
        apart = [found.difference(pair).excludes_zero for pair in pairs if pair]
        if all(apart) and told != [50, 200]:
            looked_sure += 1
            assert crossing.words.endswith("no crossing can be told")
    assert looked_sure, "else this run tests nothing"


def test_what_can_be_told_is_corrected_for_the_whole_family(run: Run) -> None:
    tested, found = family(run), evidence(run)
    pair = found.pair(("fiat", 200), ("instruct", 200))
    assert pair is not None
    alone, whole = found.tellable(pair, 1), found.tellable(pair, len(tested.comparisons))
    one = tested.of("instruct", 200)
    assert alone is not None and whole is not None and one is not None
    assert one.tellable == whole
    wide = [special.stdtrit(19, 1 - 0.025 / m) for m in (1, len(tested.comparisons))]
    power = special.stdtrit(19, 0.8)
    assert whole / alone == pytest.approx((wide[1] + power) / (wide[0] + power))
    told = _recipes(run, summarise(run))["tellable"]
    assert "after the correction for 12 comparisons" in told and "depending on the recipe" in told


def test_nothing_could_be_told_where_fewer_than_five_groups_differ(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("fiat", "instruct"), sizes=(50,), seeds=(0,), groups=30,
        languages=("sw",), metric_names=("accuracy",), fail=0.0,
    )  # fmt: skip
    (one,) = family(load_run(folder)).comparisons
    assert one.tellable is not None
    told = _recipes(load_run(folder), summarise(load_run(folder)))["tellable"]
    assert "depending" not in told and "correction" not in told, "one comparison"
    source = (folder / "cells" / "fiat-n50-s0" / "predictions.jsonl").read_text().splitlines()
    place = folder / "cells" / "instruct-n50-s0" / "predictions.jsonl"
    other = place.read_text().splitlines()
    differ = [i for i, (a, b) in enumerate(zip(source, other, strict=True)) if a != b][:3]
    place.write_text("".join(f"{(other if i in differ else source)[i]}\n" for i in range(30)))
    run = load_run(folder)
    pair = evidence(run).pair(("fiat", 50), ("instruct", 50))
    assert pair is not None and evidence(run).differing(pair) <= 3
    assert family(run).comparisons[0].tellable is None


def test_stars_and_findings_follow_one_verdict(run: Run) -> None:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(terminal_table(run))
    shown = console.export_text()
    for size in (50, 200):
        line = next(x for x in shown.splitlines() if re.match(rf"fiat +{size}\b", x))
        stars = [cell.endswith("*") for cell in re.findall(r"[+-][\d.]+\*?(?= \[)", line)]
        wanted = [family(run).of(name, size) for name in ("instruct", "icl")]
        assert stars == [one is not None and one.distinguishable for one in wanted]
    lora = next(x for x in shown.splitlines() if re.match(r"lora +50\b", x))
    assert "*" not in lora, "no test was made of lora against instruct"
    table = markdown(run)
    assert "| finding |" in table
    for one in family(run).comparisons:
        if one.b_size is not None:
            row = next(
                x for x in table.splitlines() if x.startswith(f"| {_md(one.b)} | {one.b_size} |")
            )
            assert f"| {_md(one.finding)} |" in row
    assert math.isfinite(family(run).least_p or math.nan)


def _md(text: str) -> str:
    return re.sub(r"([_-])", r"\\\1", text)


def test_recipes_that_answer_alike_have_an_interval_of_groups_never_seen(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("fiat", "instruct"), sizes=(50,), seeds=(0,), groups=30,
        languages=("sw", "am", "es", "bn"), metric_names=("accuracy",),
    )  # fmt: skip
    for name in ("predictions.jsonl", "cell.json"):
        text = (folder / "cells" / "fiat-n50-s0" / name).read_text()
        (folder / "cells" / "instruct-n50-s0" / name).write_text(
            text.replace('"fiat"', '"instruct"')
        )
    run = load_run(folder)
    (one,) = family(run).comparisons
    unseen = 100 * (1 - 0.025 ** (1 / 30))
    assert one.difference.value == 0
    assert (one.difference.low, one.difference.high) == pytest.approx((-unseen, unseen))
    drawn = languages(run).gain
    assert drawn is not None and len(drawn.points) == 4
    for point in drawn.points:
        assert (point.gain.low, point.gain.high) == pytest.approx((-unseen, unseen))


def test_a_pair_chosen_by_its_scores_is_shown_and_corrected_for_all_pairs(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("instruct", "icl_constrained", "setfit", "small_icl", "distil"),
        sizes=(50, 200), seeds=(0,), groups=30, languages=("sw", "am"), metric_names=("accuracy",),
    )  # fmt: skip
    run = load_run(folder)
    lead = summarise(run).lead
    assert lead is not None and lead.next is not None
    assert "instruct" not in (lead.best.recipe, lead.next.recipe), "which others are held against"
    chosen = analysis(run)["comparisons"]["leading"]
    assert (chosen["a"], chosen["b"]) == (lead.best.recipe, lead.next.recipe)
    assert chosen["p_holm"] == pytest.approx(min(1.0, 10 * chosen["test"]["p"]))
    told = sentences(run)[0]
    assert "chosen by looking at the scores" in told and "(10 pairs)" in told
    write_html(run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "corrected for all 10 pairs of recipes" in page


def test_follow_up_calls_take_only_their_recipe_off_the_axis_of_dollars(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("icl", "icl_constrained", "instruct", "fiat"), sizes=(50,),
        seeds=(0,), groups=10, languages=("sw",), metric_names=("accuracy",),
    )  # fmt: skip
    info = json.loads((folder / "run.json").read_text())
    info["config"]["prices"] = {"qwen2.5-coder-1.5b": {"prompt": 0.5, "completion": 1.5}}
    (folder / "run.json").write_text(json.dumps(info))
    place = folder / "cells" / "icl_constrained-n0-s0" / "cell.json"
    record = json.loads(place.read_text())
    record["usage"]["follow_up_calls"] = 3
    record["test_usage"] = {**record["usage"], "seconds": 1.0}
    place.write_text(json.dumps(record))
    found = prices(load_run(folder))
    assert found.unit == "dollars" and found.left_off == ["icl_constrained"]
    known = {line.recipe: line.serving.dollars for line in found.lines}
    assert known["icl_constrained"] is None and known["icl"] and known["fiat"]
    write_html(load_run(folder), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "US dollars for 1,000 predictions" in page
    assert "the tokens of its follow-up calls are not recorded" in page
    assert "since no call here costs money" not in page
    other = folder / "cells" / "fiat-n50-s0" / "cell.json"
    fiat = json.loads(other.read_text())
    fiat["usage"]["prompt_tokens"] = None
    other.write_text(json.dumps(fiat))
    found = prices(load_run(folder))
    assert found.unit == "seconds" and found.left_off == []
    assert "fiat" in found.reason and "not known" in found.reason


def test_more_points_than_there_are_is_nothing_that_could_be_told(tmp_path: Path) -> None:
    """Two seeds that scatter: the formula gives some hundred points."""
    folder = make_run(
        tmp_path / "run", recipes=("icl", "icl_constrained", "instruct", "lora", "setfit"),
        sizes=(50, 200), seeds=(0, 1), groups=14, languages=("sw", "am", "es"),
        metric_names=("accuracy",),
    )  # fmt: skip
    run = load_run(folder)
    one = family(run).of("setfit", 200)
    assert one is not None and one.tellable is None and one.difference.high == 100
    told = _recipes(run, summarise(run))["tellable"]
    assert told.endswith("For 1 of 4 recipes this cannot be said.")
