"""Stacking, SetFit and TF-IDF as recipes: same rows, no leak, deterministic, label tasks only."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.end_to_end.conftest import run_folder  # noqa: F401  (the small run)

from fiatkit.config import read_config
from fiatkit.errors import UsageError
from fiatkit.experiment import Cell, Plan, compare, make_plan
from fiatkit.experiment.classifiers import stack as stacking
from fiatkit.experiment.classifiers.stack import stack
from fiatkit.files import read_jsonl
from fiatkit.records import Example, Query
from fiatkit.report import load_run, summarise


@pytest.fixture(scope="session")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformer of two layers with mean pooling, made here."""
    pytest.importorskip("setfit", reason="setfit is not installed: fiatkit[setfit]")
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["sun and sol, ice and hielo, number"], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        **dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], special)),  # noqa: B905
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    folder = tmp_path_factory.mktemp("sentences")
    BertModel(config).save_pretrained(folder / "bert")
    wrapped.save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[body, Pooling(32)]).save(str(folder / "whole"))
    return folder / "whole"


def plan_of(folder: Path, *recipes: str, **changes: Any) -> Plan:
    path = folder / "run.yaml"
    values = yaml.safe_load(path.read_text())
    values |= {"recipes": list(recipes), "sizes": [8], "seeds": [0], **changes}
    values["tuning"] |= {"epochs": 1}
    path.write_text(yaml.safe_dump(values))
    return make_plan(read_config(path))


def record(plan: Plan, recipe: str) -> dict[str, Any]:
    file = plan.out / "cells" / Cell(recipe, 8, 0).folder / "cell.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def predictions(plan: Plan, recipe: str) -> bytes:
    return (plan.out / "cells" / Cell(recipe, 8, 0).folder / "predictions.jsonl").read_bytes()


def turned(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """The same rows, every target another one."""
    other = {"warm": "cold", "cold": "warm"}
    return tuple(
        replace(e, target=other[e.target], references=(other[e.target],)) for e in examples
    )


def test_stack_uses_neither_test_targets_nor_training_rows(
    run_folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run_folder)
    plan = plan_of(run_folder, "icl", "instruct", "stack")
    seen: list[list[str]] = []
    given: list[Any] = []
    whole, answer = stacking.stack, stacking.answer

    def kept(plan: Plan, cell: Cell, rationales: Any) -> Any:
        given.append(rationales)
        return answer(plan, cell, rationales)

    monkeypatch.setattr(stacking, "answer", kept)

    def watched(dev: Any, known: Any, queries: Any, asked: Any, labels: Any) -> Any:
        seen.append([example.id for example in dev])
        assert all(type(query) is Query for query in queries)
        assert known.shape == (len(dev), 5)
        return whole(dev, known, queries, asked, labels)

    monkeypatch.setattr(stacking, "stack", watched)
    compare(plan)
    dev = [e.id for e in plan.data.dev]
    assert seen == [dev]
    assert not {e.id for e in (*plan.data.train, *plan.data.test)} & set(dev)
    found = record(plan, "stack")
    assert found["kind"] == "recipe"
    assert found["usage"]["calls"] == len(dev) + len(plan.data.test)
    assert found["test_usage"]["calls"] == len(plan.data.test)
    assert found["seconds"]["tuning"] == record(plan, "instruct")["seconds"]["tuning"] > 0
    assert any("fitted on the 8 dev rows" in note for note in found["notes"])
    assert found["scores"]["accuracy"]["value"] == 100, "the large model is always right here"

    data = replace(plan.data, train=turned(plan.data.train), test=turned(plan.data.test))
    again = answer(replace(plan, data=data), Cell("stack", 8, 0), *given)
    rows = read_jsonl(plan.out / "cells" / "stack-n8-s0" / "predictions.jsonl")
    assert [row["probabilities"] for row in rows] == [p.probabilities for p in again.predictions], (
        "targets of training and test rows play no part"
    )


def test_stack_weighs_both_models_and_knows_labels_without_dev_rows() -> None:
    labels = ["a", "b", "c"]
    rng = np.random.default_rng(0)
    targets = [labels[i % 2] for i in range(60)]
    dev = [Example(Query(f"d{i}", {"x": ""}), t, (t,), f"g{i}") for i, t in enumerate(targets)]
    known = np.zeros((60, 7))
    known[:, :3] = np.log(rng.dirichlet([1, 1, 1], 60))
    for row, target in enumerate(targets):
        right = rng.random() < 0.9
        known[row, 3 + labels.index(target) if right else 6] = 1.0
    queries = [Query("q0", {"x": ""}), Query("q1", {"x": ""})]
    asked = np.zeros((2, 7))
    asked[:, :3] = np.log(1 / 3)
    asked[0, 3] = asked[1, 4] = 1.0
    found, notes = stack(dev, known, queries, asked, labels)
    assert [p.answer for p in found] == ["a", "b"]
    assert all(sum((p.probabilities or {}).values()) == pytest.approx(1) for p in found)
    assert (found[0].probabilities or {})["c"] == 0
    assert any("no dev row has the label c" in note for note in notes)
    one, _ = stack(dev[:1], known[:1], queries, asked, labels)
    assert [p.answer for p in one] == ["a", "a"]


def test_tfidf_is_a_recipe_where_it_is_named_and_a_floor_where_not(
    run_folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run_folder)
    plan = plan_of(run_folder, "icl")
    compare(plan)
    before = predictions(plan, "tfidf")
    assert record(plan, "tfidf")["kind"] == "floor"
    plan = plan_of(run_folder, "icl", "tfidf")
    assert [c.recipe for c in plan.cells if c.is_floor] == ["majority"]
    compare(plan)
    assert record(plan, "tfidf")["kind"] == "recipe"
    assert predictions(plan, "tfidf") == before, "one implementation, the same rows"
    lines = {line.recipe: line for line in summarise(load_run(plan.out)).lines}
    assert (lines["tfidf"].is_floor, lines["tfidf"].size, lines["tfidf"].calls) == (False, 8, 0)


def test_setfit_trains_on_the_cells_rows_the_same_each_time(
    run_folder: Path,  # noqa: F811
    sentence_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run_folder)
    setfit = {"model": str(sentence_model), "pairs": 4}
    plan = plan_of(run_folder, "setfit", setfit=setfit, floors=False)
    (sentence_model / "model_head.pkl").write_bytes(b"a pickle that is never opened")
    capfd.readouterr()
    compare(plan)
    out, _ = capfd.readouterr()
    assert out == "", "what SetFit prints would be in the way"
    first = predictions(plan, "setfit")
    rows = list(read_jsonl(plan.out / "cells" / "setfit-n8-s0" / "predictions.jsonl"))
    assert all(set(row["probabilities"]) == {"warm", "cold"} for row in rows)
    assert all(max(row["probabilities"], key=row["probabilities"].get) == row["answer"] for row in rows)  # fmt: skip
    found = record(plan, "setfit")
    assert found["seconds"]["tuning"] > 0
    assert found["scores"]["accuracy"]["value"] > 60, "four words tell the label"
    (plan.out / "cells" / "setfit-n8-s0" / "cell.json").unlink()
    compare(plan)
    assert predictions(plan, "setfit") == first

    with pytest.raises(UsageError, match="no sentence-transformer that can be loaded"):
        compare(plan_of(run_folder, "setfit", setfit={"model": str(run_folder)}, out="other"))


def test_what_cannot_be_run_says_why(
    run_folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(run_folder, "icl", "stack", "setfit")
    assert plan.not_run == {
        "stack": "it stacks on instruct, which is not among the recipes",
        "setfit": "setfit.model names no sentence-transformer",
    }
    named = plan_of(run_folder, "icl", "setfit", setfit={"model": "x"})
    assert ("setfit" in named.not_run) == (importlib.util.find_spec("setfit") is None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "is not installed" in plan_of(run_folder, "icl", "setfit").not_run["setfit"]
    task = yaml.safe_load((run_folder / "task.yaml").read_text())
    del task["labels"]
    (run_folder / "task.yaml").write_text(yaml.safe_dump(task))
    monkeypatch.undo()
    plan = plan_of(run_folder, "icl", "instruct", "stack", "tfidf")
    assert plan.not_run == {"stack": "label tasks only", "tfidf": "label tasks only"}
