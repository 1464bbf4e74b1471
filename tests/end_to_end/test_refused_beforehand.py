"""What no tuning can do is refused by doctor, tune and compare alike, before the first call."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import CHATML, make_model
from tests.models.tokenizer_families import FAMILIES

from fiatkit.config import read_config
from fiatkit.errors import DataError, FiatError, ModelFileError, UsageError
from fiatkit.experiment import compare, make_plan
from fiatkit.experiment.doctor import examine
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import tune_one


def make_unaccented(folder: Path) -> Path:
    family = FAMILIES["wordpiece"]()
    family.model().save_pretrained(folder)
    family.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bases(
    tiny_chat_model: Path, tiny_t5_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        "chat": tiny_chat_model,
        "t5": tiny_t5_model,
        "olmo": make_model(folder / "olmo", CHATML, "Olmo2"),
        "experts": make_model(folder / "experts", CHATML, "Mixtral", num_local_experts=2),
        "cohere": make_model(folder / "cohere", CHATML, "Cohere"),
        "unaccented": make_unaccented(folder / "unaccented"),
    }


@pytest.mark.parametrize(
    ("base", "tuning", "told"),
    [
        ("chat", {"layers": "top-999"}, '"top-999", but the small model has 2 layers'),
        ("t5", {"layers": "top-1"}, "is for decoder models"),
        ("olmo", {"method": "ia3"}, '(IA)³ is not defined for models of type "olmo2"'),
        ("experts", {"method": "dora"}, 'peft cannot adapt "MixtralForCausalLM"'),
        ("chat", {"class_weights": {"warm": 2}}, 'has no weight for "cold"'),
        (
            "chat",
            {"class_weights": {"warm": 2, "cold": 1, "colld": 3}},
            'names "colld", which is no label of the task (warm, cold)',
        ),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_is_spent(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    bases: dict[str, Path],
    base: str,
    tuning: dict[str, Any],
    told: str,
) -> None:
    monkeypatch.chdir(run_folder)
    values = yaml.safe_load(Path("run.yaml").read_text())
    values |= {"small": {"model": str(bases[base])}, "tuning": tuning, "recipes": ["fiat"]}
    Path("run.yaml").write_text(yaml.safe_dump(values))
    config = read_config("run.yaml")
    problems = [finding.text for finding in examine(config) if finding.kind == "problem"]
    assert len(problems) == 1
    assert told in problems[0]
    with pytest.raises(UsageError) as tune:
        tune_one(config, "fiat", 16, 0, Path("model"), Silent())
    with pytest.raises(UsageError) as comparison:
        compare(make_plan(config))
    assert told in tune.value.message
    assert told in comparison.value.message
    assert not Path("runs", "rationales.sqlite").exists()
    assert not Path("model.checkpoints").exists()


@pytest.mark.parametrize(
    ("base", "tuning", "error", "told"),
    [
        ("cohere", {}, ModelFileError, '"CohereForCausalLM" does more after its head'),
        ("unaccented", {}, DataError, 'The labels "te" and "té" have the same tokens'),
        (
            "chat",
            {"max_length": 20},
            UsageError,
            "training rows can be used: all are longer than 20",
        ),
    ],
)
def test_what_only_the_small_model_itself_can_tell_is_told_before_the_first_call(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    bases: dict[str, Path],
    base: str,
    tuning: dict[str, Any],
    error: type[FiatError],
    told: str,
) -> None:
    """Its head, its tokens of the labels, the length of its prompts."""
    monkeypatch.chdir(run_folder)
    if base == "unaccented":
        for name in ("task.yaml", "rows.csv", "run.yaml"):
            text = Path(name).read_text("utf-8").replace("warm", "te").replace("cold", "té")
            Path(name).write_text(text, "utf-8")
    values = yaml.safe_load(Path("run.yaml").read_text("utf-8"))
    values |= {"small": {"model": str(bases[base])}, "tuning": tuning}
    Path("run.yaml").write_text(yaml.safe_dump(values | {"recipes": ["icl", "fiat"]}))
    config = read_config("run.yaml")
    with pytest.raises(error) as tune:
        tune_one(config, "fiat", 16, 0, Path("model"), Silent())
    with pytest.raises(error) as comparison:
        compare(make_plan(config.model_copy(update={"sizes": [16]})))
    assert told in tune.value.message
    assert told in comparison.value.message
    assert calls() == 0
    assert not Path("model.checkpoints").exists()


def calls() -> int:
    """Attempts at the large model that the store knows of."""
    with contextlib.closing(sqlite3.connect("runs/rationales.sqlite")) as store:
        return int(store.execute("SELECT count(*) FROM attempts").fetchone()[0])
