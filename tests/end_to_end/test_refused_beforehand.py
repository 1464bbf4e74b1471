"""What no tuning can do is refused by doctor, tune and compare alike, before the first call."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import CHATML, make_model

from fiatkit.config import read_config
from fiatkit.errors import UsageError
from fiatkit.experiment import compare, make_plan
from fiatkit.experiment.doctor import examine
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import tune_one


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
