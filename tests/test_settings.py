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
