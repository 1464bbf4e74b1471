"""What the small model writes itself is counted, checked beforehand, and told as its own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.test_every_recipe import config, write

from fiatkit.api import compare
from fiatkit.config import read_config
from fiatkit.errors import UsageError
from fiatkit.experiment import make_plan
from fiatkit.experiment.agreement import Agreement
from fiatkit.experiment.doctor import examine
from fiatkit.experiment.estimate import Estimate, estimate
from fiatkit.experiment.folder import check_same
from fiatkit.experiment.runner import begin
from fiatkit.reasoning.key import request_values
from fiatkit.reasoning.lost import lost_answers
from fiatkit.records import Message, ModelIdentity, Rationale, Request, Sampling


def lengthen(folder: Path) -> None:
    """An instruction that does not fit into the tiny model's context."""
    file = folder / "task.yaml"
    whole, found = file.read_text(), "reasoning:\n  instruction: Say warm or cold."
    assert found in whole
    file.write_text(whole.replace(found, f"{found} {'Zz ' * 300}", 1))


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


def test_the_writing_prompt_is_held_against_the_small_models_context(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    values = config(tmp_path, tiny_chat_model, None, recipes=["small_icl"], floors=False)
    [found] = [f for f in examine(read_config(values)) if "writing prompt" in f.text]
    assert found.kind == "ok" and found.text.endswith("the small model reads at most 496")
    lengthen(tmp_path)
    values["recipes"] = ["small_icl", "own_rationale"]
    [found] = [f for f in examine(read_config(values)) if "writing prompt" in f.text]
    assert found.kind == "problem"
    assert found.text.startswith("the writing prompt of small_icl and own_rationale has ")
    assert "tokens; the small model reads at most 496 (context 512" in found.text
    assert "32 of 32 rows are too long" in found.text


def test_nothing_is_tuned_where_the_small_model_wrote_nothing(
    tmp_path: Path, tiny_chat_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "label")
    lengthen(tmp_path)
    values = config(tmp_path, tiny_chat_model, None, recipes=["own_rationale"], floors=False)
    with pytest.raises(UsageError, match=r"wrote none of the 32 rationales \(32 too_long\)"):
        compare(values)
    told = capsys.readouterr().err.replace("\n", "")
    assert f"32 of 32 rationales by {tiny_chat_model} failed: 32 too_long." in told
    assert f"32 calls of {tiny_chat_model}" in told
    assert "calls of the large model" not in told
    assert not list((tmp_path / "run/cells").glob("*/cell.json"))


def test_a_writers_failures_are_told_beside_its_answers(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    plan = make_plan(read_config(config(tmp_path, tiny_chat_model, None)))
    told = Agreement(plan, "m")
    told.count(Rationale("r0", "Answer: warm", "warm", "ok", ""))
    told.count(Rationale("r1", "It is", None, "failed:truncated", ""))
    assert str(told) == (
        "Answers in 1 rationales by m: 1 as the target, 0 another, 0 none. All of them are used. "
        "1 of 2 rationales by m failed: 1 truncated."
    )


def test_earlier_settings_are_those_of_the_same_writer() -> None:
    large = ModelIdentity("scripted", "", "big", "1")
    small = ModelIdentity("transformers", "", "tiny", "1")
    request = Request((Message("user", "one"),), Sampling(max_tokens=8))
    other = replace(request, sampling=Sampling(max_tokens=16))
    name = (small.provider, small.model)
    stored = [request_values(large, request), request_values(small, request)]
    assert not lost_answers(small, [other], stored[:1], name)
    assert not lost_answers(large, [other], stored[1:], name)
    for writer in (small, large):
        assert lost_answers(writer, [other], stored, name) == {"max_tokens 8, now 16": 1}


def test_the_disk_is_asked_for_the_models_own_size(
    tmp_path: Path, tiny_chat_model: Path, tiny_plain_model: Path
) -> None:
    write(tmp_path, "label")
    for method in ("full", "lora"):
        values = config(tmp_path, tiny_chat_model, tiny_plain_model, recipes=["instruct"])
        values["tuning"] |= {"method": method}
        [found] = [f for f in examine(read_config(values)) if f.text.startswith("disk:")]
        assert found.text.endswith(
            "about 0.00 GB needed" if method == "full" else "about 0.03 GB needed"
        )


def test_cells_of_a_plain_base_that_no_one_named_are_not_taken_as_finished(
    tmp_path: Path, tiny_chat_model: Path, tiny_plain_model: Path
) -> None:
    write(tmp_path, "label")
    values = config(tmp_path, tiny_chat_model, tiny_plain_model, recipes=["finetune"])
    plan = make_plan(read_config(values))
    begin(plan)
    info = json.loads((tmp_path / "run/run.json").read_text())
    del info["fingerprints"]["small.plain"]  # as an older release wrote it
    (tmp_path / "run/run.json").write_text(json.dumps(info))
    check_same(plan)
    cell = tmp_path / "run/cells/finetune-n16-s0/cell.json"
    cell.parent.mkdir(parents=True)
    cell.write_text(json.dumps({"recipe": "finetune", "kind": "recipe"}))
    with pytest.raises(UsageError, match="changed: small.plain"):
        check_same(plan)
