"""A14: settings files that would run code, fill memory, or mean something else than they look."""

from pathlib import Path

import pytest

from fiatkit.config import read_config
from fiatkit.errors import SettingsError
from fiatkit.settings import read_yaml
from fiatkit.tasks import load_task

CANARY = "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{}']]"


def bomb(levels: int, width: int, end: str = "[lol]") -> str:
    """Aliases of aliases: `width` to the power of `levels` values from a few lines."""
    lines = [f"a0: &a0 {end}"]
    for level in range(1, levels + 1):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("task: !!python/object:os.system {}", "could not determine a constructor"),
        ("task: !!python/name:os.system", "could not determine a constructor"),
        (bomb(9, 10), "more than 100,000 values, aliases written out"),
        (bomb(50, 2), "more than 100,000 values, aliases written out"),
        (bomb(4, 30), "more than 100 aliases"),
        ("a: &a [*a, *a]", "more than 100,000 values"),
        ("a: &a {b: *a}", "more than 100,000 values"),
        ("[" * 3_000, "not valid YAML"),
        ("- x\n" * 1_100_000, "at most 4 MiB"),
        ("task: a\ntask: b", 'line 2: the key "task" stands there twice'),
        ("a: {b: 1, b: 2}", 'the key "b" stands there twice'),
    ],
)
def test_A14_a_file_that_is_a_trap_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        read_yaml(path)


def test_A14_no_code_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "run.yaml"
    path.write_text("task: " + CANARY.format(canary))
    with pytest.raises(SettingsError):
        read_config(path)
    assert not canary.exists()


def test_A14_a_few_aliases_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(bomb(2, 10))
    assert len(read_yaml(path)["a2"]) == 10


@pytest.mark.parametrize("labels", ["[on, off]", "[yes, no]", "[true, maybe]", "[null, x]"])
def test_A14_labels_that_yaml_reads_as_something_else_are_refused(
    tmp_path: Path, labels: str
) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        f"name: t\nfields: [text]\ntarget: label\nlabels: {labels}\n"
        "reasoning: {instruction: Say.}\ntuning: {instruction: Say.}\n"
    )
    with pytest.raises(SettingsError, match="labels, item 1.*quotes"):
        load_task(str(path))


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("tuning: {alpha: .inf}", "line 4: tuning.alpha should be a finite number (given: inf)"),
        ("tuning: {learning_rate: .nan}", "tuning.learning_rate should be a finite number"),
        ("tuning: {clip: .inf}", "tuning.clip: should be a finite number; null leaves"),
        ("limits: {requests_per_minute: .inf}", "should be a finite number (given: inf)"),
        ("max_failed: .nan", "max_failed should be a finite number (given: nan)"),
        ("tuning: {class_weights: {a: .inf}}", 'the weight of "a" should be a finite number above'),
        ("tuning: {class_weights: {a: -1}}", "a finite number above 0 (given: -1)"),
        ("tuning: {class_weights: foo}", "should be none, balanced or {label: weight} (given: 'f"),
        ("tuning: {class_weights: [a]}", "should be none, balanced or {label: weight}"),
        ("tuning: {class_weights: {1: 2}}", "the label 1 should be text; put it into quotes."),
        ("tuning: {1: 2}", "line 4: tuning: the key 1 should be text; put it into quotes."),
        (
            "prices: {1: {prompt: 1, completion: 1}}",
            "line 4: prices: the key 1 should be text; put it into quotes.",
        ),
        ("yes: 2", '"run.yaml", the key True should be text; put it into quotes.'),
    ],
)
def test_values_that_are_no_finite_numbers_and_keys_that_are_no_text_are_told_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(f"version: 1\ntask: t\nsmall: {{model: m}}\n{block}\n")
    with pytest.raises(SettingsError) as refused:
        read_config("run.yaml")
    assert told in refused.value.message
    assert "Input should" not in refused.value.message
    assert "mistakes" not in refused.value.message
