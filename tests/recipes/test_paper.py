"""Tables 2 and 3 and Figure 4 of arXiv 2309.04663, row by row, and the recipe of each."""

import pytest

from fiatkit.cli._recipes import recipe_lines
from fiatkit.recipes import NAMED, Recipe, named
from fiatkit.recipes.listing import PAPER, listed

ROWS = [  # table, row, recipe: answers, instruction, rationale, tuned, method, base
    ("Table 2", "ICL", "icl", "large", True, "none", False, None, "instruction_tuned"),
    ("Table 2", "Fine-tune", "finetune", "small", False, "none", True, "full", "plain"),
    ("Table 2", "FIAT", "fiat", "small", True, "large", True, None, "instruction_tuned"),
    ("Table 3", "FIAT", "fiat", "small", True, "large", True, None, "instruction_tuned"),
    (
        *("Table 3", "- CoT-augmented tuning", "fiat -rationale"),
        *("small", True, "none", True, None, "instruction_tuned"),
    ),
    (
        *("Table 3", "- instruction-augmented tuning", "fiat -rationale -instruction"),
        *("small", False, "none", True, None, "instruction_tuned"),
    ),
    (
        *("Table 3", "- parameter-efficient tuning", "fiat -rationale -instruction -peft"),
        *("small", False, "none", True, "full", "instruction_tuned"),
    ),
    (
        *("Table 3", "- instruction-tuned base", "fiat -rationale -instruction -peft -tuned_base"),
        *("small", False, "none", True, "full", "plain"),
    ),
    ("Fig. 4", "distilled CoT", "distil", "small", True, "target", True, None, "instruction_tuned"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_each_row_of_the_paper_is_a_recipe(row: tuple[object, ...]) -> None:
    table, label, written, *settings = row
    recipe: Recipe = named(str(written))
    assert settings == [
        recipe.answers,
        recipe.instruction,
        recipe.rationale,
        recipe.tune,
        recipe.method,
        recipe.base,
    ]
    assert recipe.hint == "whole" and not recipe.constrained
    told = PAPER[recipe.name].replace("Tables 2 and 3:", "Table 2: FIAT; Table 3:")
    assert f"{table}: {label}" in told.split("; ")


def test_the_paper_has_no_row_beside_these() -> None:
    assert PAPER.keys() == {named(str(row[2])).name for row in ROWS}


def test_each_recipe_is_listed_with_its_calls_within_80_columns() -> None:
    lines = recipe_lines(None)
    assert max(map(len, lines)) <= 80
    lines = lines[lines.index("") + 1 :]
    names = [recipe.name for recipe in listed()]
    told = [line.split(" - ")[0] for line in lines if not line.startswith(" ")]
    assert told == names and len(names) == len(set(names)) and set(NAMED) <= set(names)
    calls = {recipe.name: recipe.calls for recipe in listed()}
    assert {calls[name] for name in ("lora", "instruct", "finetune", "small_icl")} == {"0 / 0"}
    assert (calls["icl"], calls["fiat"], calls["distil"]) == ("0 / 1", "1 / 1", "1 / 0")
    text = " ".join(" ".join(lines).split())
    assert "calls a row: 1 / 1; in the paper: Tables 2 and 3: FIAT" in text
    assert "(= fiat -rationale -instruction -peft -tuned_base) [needs small.plain]" in text
