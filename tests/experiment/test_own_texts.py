"""The estimate counts what the small model writes itself."""

from pathlib import Path
from typing import Any

from tests.recipes.test_every_recipe import config, write

from fiatkit.config import read_config
from fiatkit.experiment import make_plan
from fiatkit.experiment.estimate import Estimate, estimate


def estimated(folder: Path, small: Path, *recipes: str) -> Estimate:
    values: dict[str, Any] = config(folder, small, None, recipes=list(recipes), floors=False)
    return estimate(make_plan(read_config(values)))


def test_texts_of_the_small_model_are_counted_and_cost_time_alone(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    instruct = estimated(tmp_path, tiny_chat_model, "instruct")
    assert (instruct.calls, instruct.own_texts) == (0, 0)
    icl = estimated(tmp_path, tiny_chat_model, "small_icl")
    assert (icl.calls, icl.own_texts) == (0, 12)
    own = estimated(tmp_path, tiny_chat_model, "small_icl", "own_rationale")
    assert (own.calls, own.own_texts) == (0, 16 + 4 + 12), "those of test are written once"
    assert "32 texts by the small model itself" in own.sentence()
    distil = estimated(tmp_path, tiny_chat_model, "distil")
    assert (distil.calls, distil.own_texts) == (16, 4 + 12), "the large model: in training only"
