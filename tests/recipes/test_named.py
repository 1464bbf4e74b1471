"""Recipes by name, and the paper's removals from FIAT."""

import re
from itertools import chain, combinations
from pathlib import Path

import pytest

from fiatkit.config import RunConfig, read_config
from fiatkit.errors import SettingsError, UnknownNameError, UsageError
from fiatkit.experiment import Cell
from fiatkit.recipes import FIAT, NAMED, REMOVALS, Recipe, named

EVERY = list(chain(*(combinations(REMOVALS, count) for count in range(1, len(REMOVALS) + 1))))


def removed(*names: str) -> Recipe:
    return named(" ".join(["fiat", *(f"-{name}" for name in names)]))


def test_a_recipe_is_found_by_its_name() -> None:
    assert all(named(name) is recipe and recipe.name == name for name, recipe in NAMED.items())


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_each_removal_takes_one_ingredient_and_no_other(names: tuple[str, ...]) -> None:
    recipe = removed(*names)
    assert recipe.rationale == ("none" if "rationale" in names else "large")
    assert recipe.instruction == ("instruction" not in names)
    assert recipe.method == ("full" if "peft" in names else None)
    assert recipe.base == ("plain" if "tuned_base" in names else "instruction_tuned")
    assert (recipe.answers, recipe.tune, recipe.hint) == ("small", True, "whole")
    assert named(recipe.name) == recipe
    assert removed(*reversed(names)) == recipe, "whatever their order"


def test_a_removal_that_has_a_name_is_that_recipe() -> None:
    assert removed("rationale") is NAMED["instruct"]
    assert removed("rationale", "instruction") is NAMED["lora"]
    assert removed(*REMOVALS) is NAMED["finetune"]
    assert removed("peft").name == "fiat -peft"


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_folders_of_cells_are_safe_names(names: tuple[str, ...]) -> None:
    folder = Cell(removed(*names).name, 100000, 1234).folder
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", folder)
    assert len({Cell(removed(*some).name, 1, 0).folder for some in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("fiatt", 'no recipe "fiatt".*Did you mean "fiat"'),
        ("", 'no recipe ""'),
        ("fiat -rational", 'no removal from "fiat" "-rational".*Did you mean "-rationale"'),
        ("fiat rationale", 'no removal from "fiat" "rationale".*Did you mean "-rationale"'),
        ("lora -peft", 'no recipe "lora -peft".*'),
    ],
)
def test_mistakes_are_told_with_what_is_near(written: str, told: str) -> None:
    with pytest.raises(UnknownNameError, match=f"(?s){told}"):
        named(written)


def test_recipes_survive_as_plain_values_and_older_ones_get_defaults() -> None:
    for recipe in (*NAMED.values(), removed("peft")):
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    old = {k: v for k, v in FIAT.to_dict().items() if k not in ("hint", "base")}
    assert Recipe.from_dict(old) == FIAT
    for odd in ({"hint": "half"}, {"rationale": "huge"}, {"spice": 1}):
        with pytest.raises(UsageError, match=next(iter(odd))):
            Recipe.from_dict(FIAT.to_dict() | odd)


def config(*recipes: str, **small: str) -> RunConfig:
    return read_config(
        {"task": "sib200", "small": {"model": "smollm2-135m", **small}, "recipes": list(recipes)}
    )


def test_a_run_file_names_removals(tmp_path: Path) -> None:
    assert config("icl", "fiat -rationale -peft").recipes == ["icl", "fiat -rationale -peft"]
    with pytest.raises(SettingsError, match='Did you mean "-peft"'):
        config("fiat -peff")


def test_the_plain_base_is_no_part_of_a_run_that_does_not_use_it() -> None:
    assert config("fiat").fingerprint() == config("fiat", plain="gemma3-270m").fingerprint()
