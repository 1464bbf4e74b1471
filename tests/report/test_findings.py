"""What a report claims: every "ahead", star and finding is the one corrected verdict."""

import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console
from scipy import special

from fiatkit.report import load_run, summarise, terminal_table
from fiatkit.report.curves import curves
from fiatkit.report.evidence import evidence
from fiatkit.report.export import markdown
from fiatkit.report.family import family
from fiatkit.report.html import _blocks, _recipes
from fiatkit.report.run import Run
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
