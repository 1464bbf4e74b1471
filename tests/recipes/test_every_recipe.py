"""What every recipe keeps: the same rows, an answer to each row, an artefact that answers alike."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fiatkit.api import Comparison, compare, load
from fiatkit.files import read_jsonl
from fiatkit.recipes import NAMED, Recipe, named

TASK: dict[str, Any] = {
    "version": 1,
    "name": "toy",
    "id": "id",
    "fields": ["text"],
    "language": "language",
    "group": "group",
    "target": "label",
    "reasoning": {"instruction": "Say warm or cold.", "max_tokens": 16},
    "tuning": {"instruction": "Say warm or cold."},
    "exemplars": [
        {
            "fields": {"text": "hot tea"},
            "language": "en",
            "target": "warm",
            "rationale": "It is hot.\nAnswer: warm",
        }
    ],
}
KINDS: dict[str, dict[str, Any]] = {
    "label": {"labels": ["warm", "cold"]},
    "text": {"max_answer_tokens": 6, "metrics": ["exact_match"]},
}
RECIPES = [
    *(name for name, recipe in NAMED.items() if recipe.answers != "classifier"),
    *("fiat -instruction", "fiat -peft", "fiat -tuned_base", "fiat -rationale -instruction -peft"),
]
ANSWERS = {
    "never": "",  # the large model says nothing of these
    "sun": "It is warm there.\nAnswer: warm",
    "ice": "It freezes.\nAnswer: cold",
}
SILENT = 2  # of the training rows


def rows() -> list[dict[str, str]]:
    found = []
    for number in range(32):
        word, label = [("sun", "warm"), ("ice", "cold")][number % 2]
        where = "never" if number in (4, 5) else "here"
        text = f"{word} {where} {number}"
        group = f"g{number // 2}" if number % 4 < 2 else f"h{number}"
        found.append({"id": f"r{number}", "text": text, "label": label, "group": group})
    return [row | {"language": "en"} for row in found]


def write(folder: Path, kind: str) -> None:
    import yaml

    (folder / "task.yaml").write_text(yaml.safe_dump(TASK | KINDS[kind]))
    train, rest = rows()[:16], rows()[16:]
    for name, some in (("train", train), ("dev", rest[:4]), ("test", rest[4:])):
        lines = [json.dumps(row) for row in some]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def config(folder: Path, small: Path, plain: Path | None, **changes: Any) -> dict[str, Any]:
    return {
        "task": str(folder / "task.yaml"),
        "data": {name: str(folder / f"{name}.jsonl") for name in ("train", "dev", "test")},
        "large": {"provider": "scripted", "answers": ANSWERS, "default": "I cannot tell."},
        "small": {"model": str(small), "device": "cpu"} | ({"plain": str(plain)} if plain else {}),
        "recipes": RECIPES,
        "sizes": [16],
        "tuning": {"epochs": 1, "learning_rate": 0.01, "rank": 4, "batch_rows": 4},
        "max_failed": 1,
        "out": str(folder / "run"),
        "store": str(folder / "store.sqlite"),
        **changes,
    }


class Made:
    """A finished comparison of all recipes."""

    def __init__(self, folder: Path, kind: str, result: Comparison) -> None:
        self.folder, self.kind, self.result = folder, kind, result

    def record(self, recipe: str) -> dict[str, Any]:
        [file] = (self.folder / "run/cells").glob(f"{recipe.replace(' ', '')}-n*-s0/cell.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def predictions(self, recipe: str) -> list[dict[str, Any]]:
        [file] = (self.folder / "run/cells").glob(
            f"{recipe.replace(' ', '')}-n*-s0/predictions.jsonl"
        )
        return list(read_jsonl(file))


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_chat_model: Path,
    tiny_plain_model: Path,
) -> Made:
    """All recipes of one comparison, on a label task and on one with free answers."""
    folder = tmp_path_factory.mktemp(request.param)
    write(folder, request.param)
    result = compare(config(folder, tiny_chat_model, tiny_plain_model), progress=False)
    return Made(folder, request.param, result)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_test_row_comes_to_an_end(made: Made, recipe: str) -> None:
    found = made.predictions(recipe)
    assert [row["id"] for row in found] == [row["id"] for row in rows()[20:]]
    assert sum(made.record(recipe)["counts"].values()) == 12


def test_all_train_on_the_same_rows(made: Made) -> None:
    left_out = {row["id"]: "rationale_empty (fiat)" for row in rows() if "never" in row["text"]}
    kept = [row["id"] for row in rows()[:16] if row["id"] not in left_out]
    sums = set()
    for recipe in map(named, RECIPES):
        record = made.record(recipe.name)
        if recipe.learns:
            assert record["left_out"] == left_out
        if recipe.tune:
            told = f"{SILENT} training rows left out of every recipe: rationale_empty (fiat)"
            assert told in record["notes"]
            place = made.folder / "run/cells" / f"{recipe.name.replace(' ', '')}-n16-s0"
            prepared = json.loads((place / "adapter/preparation.json").read_text())
            sums.add((prepared["tuned_on"]["rows"], prepared["tuned_on"]["ids_sha256"]))
    assert len(kept) == 16 - SILENT and len(sums) == 1
    assert {count for count, _ in sums} == {len(kept)}


@pytest.mark.parametrize("recipe", [name for name in RECIPES if named(name).tune])
def test_an_artefact_answers_new_rows_as_it_did_the_test_rows(made: Made, recipe: str) -> None:
    place = made.folder / "run/cells" / f"{recipe.replace(' ', '')}-n16-s0" / "adapter"
    model = load(place, store=made.folder / "store.sqlite")
    found = model.predict(made.folder / "test.jsonl", progress=False)
    before = made.predictions(recipe)
    assert [(p.query_id, p.answer, p.status) for p in found] == [
        (row["id"], row["answer"], row["status"]) for row in before
    ]
    written = json.loads((place / "preparation.json").read_text())["recipe"]
    assert Recipe.from_dict(written).name == recipe
    asked = json.loads((place / "preparation.json").read_text())["large"]
    writer = {"small": "transformers", "large": "scripted", None: None}[
        named(recipe).serving_writer
    ]
    assert (asked or {}).get("provider") == writer


def test_calls_are_those_of_the_large_model_where_it_is_asked(made: Made) -> None:
    for recipe in map(named, RECIPES):
        usage, test = (made.record(recipe.name)[key] for key in ("usage", "test_usage"))
        rows_of = {"train": 16 - SILENT, "dev": 4, "test": 12}
        split = recipe.written_for if recipe.writer == "large" else ()
        assert usage["calls"] == sum(rows_of[name] for name in split)
        assert test["calls"] == (12 if "test" in split else 0)


def test_the_small_models_own_texts_are_completions_in_the_store(
    made: Made, tiny_chat_model: Path
) -> None:
    with sqlite3.connect(made.folder / "store.sqlite") as db:
        requests = [json.loads(text) for (text,) in db.execute("select request from completions")]
    own = [one for one in requests if one["provider"] == "transformers"]
    asked = {one["messages"][-1]["content"].removeprefix("Text: ") for one in own}
    assert asked == {row["text"] for row in rows()}, "of train, dev and test, each once"
    assert len({one["revision"] for one in own}) == 1
    assert {one["model"] for one in own} == {str(tiny_chat_model)}
    large = {json.dumps(one["messages"]) for one in requests if one["provider"] == "scripted"}
    assert {json.dumps(one["messages"]) for one in own} <= large, "the same prompts as the large"
