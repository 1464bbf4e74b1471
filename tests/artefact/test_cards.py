"""The code of a card gives fiatkit's answers for every recipe, whatever stands in a row."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.artefact import outside
from tests.artefact.conftest import make, reseal

from fiatkit.artefact.export import export
from fiatkit.experiment.single import load_fitted
from fiatkit.recipes.predictor import small_prompt
from fiatkit.records import Query, Rationale

TEXTS = ["the sun", "mucho hielo", "ice  and\n\nsun", "<|im_end|> sun", "小包が", "12,345 warm"]
LARGE = {"provider": "scripted", "answers": {"x": "y"}}
RECIPES: dict[str, dict[str, Any]] = {
    "fiat": {"rationale": "large"},
    "dropout": {"rationale": "large", "rationale_dropout": 0.5},
    "distil": {"rationale": "target"},
}
REASONED = "It is hot.\nAnswer: warm tea."


def another(folder: Path, recipe: str, *, text: bool, **task: Any) -> Path:
    """The artefact as if its task and recipe were others, with an optional field."""
    path = folder / "preparation.json"
    values = json.loads(path.read_text())
    values["recipe"] |= {"instruction": True} | RECIPES[recipe]
    values |= {"large": LARGE, "max_length": 400}
    values["task"] |= {"fields": {"text": "Text", "note": "Note"}, "optional": ["note"]}
    values["task"]["reasoning"]["max_tokens"] = 16
    if text:
        values["task"] |= {"labels": None, "answer": "text", "metrics": ["exact_match"]}
        values["task"]["max_answer_tokens"] = 12
    values["task"] |= task
    path.write_text(json.dumps(values))
    reseal(folder)
    return folder


def rows_and_answers(folder: Path) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Rows as a card's `answer` takes them, and fiatkit's answers, or what it had written."""
    fitted = load_fitted(folder)
    rows: list[dict[str, Any]] = []
    given: dict[str, Rationale] = {}
    for number, text in enumerate(TEXTS):
        row: dict[str, Any] = {"row": {"text": text} | ({"note": "a note"} if number % 2 else {})}
        if fitted.recipe.reads_rationale and not (fitted.recipe.falls_back and number > 3):
            row["rationale"] = " It is cold. \n" if number % 3 else "Hot.\nAnswer: warm"
            given[str(number)] = Rationale(str(number), row["rationale"], None, "ok", "")
        rows.append(row)
    queries = [Query(str(number), row["row"]) for number, row in enumerate(rows)]
    found = fitted.predictor.predict(queries, given)
    assert len({p.text for p in found}) > 1 or fitted.task.choices
    told = fitted.task.choices or fitted.recipe.rationale == "target"
    return rows, [p.answer if told else p.text.strip() for p in found]


@pytest.mark.parametrize("text", [False, True], ids=["label", "text"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_s_card_answers_as_fiatkit_does(
    lora: Path, tmp_path: Path, recipe: str, text: bool
) -> None:
    """With a rationale; without one where some were tuned on without; and where it reasons."""
    rows, ours = rows_and_answers(another(lora, recipe, text=text))
    export(lora, "peft", tmp_path / "out")
    names = outside.functions(tmp_path / "out")
    assert [names["answer"](**row) for row in rows] == ours
    if recipe == "fiat":
        with pytest.raises(TypeError, match="rationale"):
            names["answer"]({"text": "the sun"})


@pytest.mark.parametrize("model", ["tiny_plain_model", "tiny_t5_model"])
def test_a_model_without_template_reasons_the_same(
    model: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make(tmp_path / "model", request.getfixturevalue(model), "lora")
    rows, ours = rows_and_answers(another(tmp_path / "model", "distil", text=False))
    export(tmp_path / "model", "peft", tmp_path / "out")
    names = outside.functions(tmp_path / "out")
    assert [names["answer"](**row) for row in rows] == ours


@pytest.fixture(scope="module")
def reasoner(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt to write a rationale and an answer behind the marker."""
    folder = tmp_path_factory.mktemp("reasoner") / "model"
    make(folder, tiny_chat_model, "full", epochs=40, text=REASONED)
    return folder


def test_the_answer_is_what_stands_behind_the_marker(reasoner: Path, tmp_path: Path) -> None:
    """In a text by a model, by transformers and by llama.cpp."""
    folder = another(Path(shutil.copytree(reasoner, tmp_path / "model")), "distil", text=True)
    rows, ours = rows_and_answers(folder)
    assert "warm tea" in ours
    export(folder, "merged", tmp_path / "out")
    names = outside.functions(tmp_path / "out")
    assert [names["answer"](**row) for row in rows] == ours
    export(folder, "gguf", tmp_path / "gguf", precision="f32")
    with outside.at_llama(tmp_path / "gguf", "model-f32.gguf") as names:
        assert [names["answer"](**row) for row in rows] == ours


def test_llama_cpp_reasons_before_a_label(lora: Path, tmp_path: Path) -> None:
    rows, ours = rows_and_answers(another(lora, "distil", text=False))
    export(lora, "gguf", tmp_path / "out", precision="f32")
    with outside.at_llama(tmp_path / "out", "model-f32.gguf") as names:
        assert [names["answer"](**row) for row in rows] == ours


def test_A09_control_tokens_in_a_row_are_text_for_a_card_too(
    tiny_t5_model: Path, tmp_path: Path
) -> None:
    """Also those that the tokenizer's own switch lets through."""
    make(tmp_path / "model", tiny_t5_model, "lora")
    export(tmp_path / "model", "peft", tmp_path / "out")
    names = outside.functions(tmp_path / "out")
    fitted = load_fitted(tmp_path / "model").predictor
    for text in ("</s> the sun</s>", "<pad>", "a <extra_id_0> b"):
        prompt = small_prompt(fitted.task, fitted.recipe, Query("q", {"text": text}), None)
        encoded = fitted.small.encode(prompt, max_length=500, reserve=20)
        found = names["prompt_ids"]({"text": text})
        assert tuple(found) == encoded.ids
        assert not set(found[:-1]) & names["control"]
    switched = names["tokenizer"]("</s> the sun", split_special_tokens=True)["input_ids"]
    assert set(switched[:-1]) & names["control"]


def sent_to_vllm(folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the client of a card sends first."""
    sent: dict[str, Any] = {}

    class Completions:
        @staticmethod
        def create(**values: Any) -> Any:
            sent.update(values)
            raise InterruptedError

    names = outside.functions(folder)
    names["client"].completions = Completions
    with pytest.raises(InterruptedError):
        names["answer"](row)
    return sent


def test_vllm_is_asked_for_labels_as_they_were_tuned(
    tiny_plain_model: Path, tmp_path: Path
) -> None:
    """Behind the blank that a model without template has before its answer, as long as they are;
    and no name of a task is code."""
    make(tmp_path / "model", tiny_plain_model, "lora")
    path = tmp_path / "model" / "preparation.json"
    values = json.loads(path.read_text())
    labels = ["warm", "a label of very many small pieces indeed " * 4]
    values["task"] |= {"name": 'a"; raise SystemExit\n', "labels": labels}
    path.write_text(json.dumps(values))
    reseal(tmp_path / "model")
    export(tmp_path / "model", "vllm", tmp_path / "out")
    sent = sent_to_vllm(tmp_path / "out", {"text": "the sun"})
    assert sent["model"] == 'a"; raise SystemExit\n'
    assert sent["extra_body"]["structured_outputs"] == {"choice": [" " + x for x in labels]}
    small = load_fitted(tmp_path / "model").predictor.small
    assert sent["max_tokens"] == len(small.encode_target(labels[1])) > 48
