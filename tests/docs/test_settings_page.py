"""docs/settings.md names every key that a run file or a task file may have."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
FREE = ("fields", "prices", "group_pattern", "group_block", "held_out", "answers", "when")
FILES = sorted(
    [*ROOT.glob("examples/*/*.yaml"), *ROOT.glob("src/fiatkit/tasks/*/*.yaml")],
    key=lambda file: file.as_posix(),
)


def keys_of(value: object) -> set[str]:
    """All keys in a file, except those that are names of the user's own."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    inner = [keys_of(v) for key, v in value.items() if key not in FREE and key != "choose"]
    chosen = [keys_of(v) for v in value.get("choose", {}).values()]
    return set(value).union(*inner, *chosen)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_key_of_the_shipped_files_is_on_the_page(file: Path) -> None:
    keys = keys_of(yaml.safe_load(file.read_text(encoding="utf-8"))) - {"extends"}
    assert keys
    assert {key for key in keys if f"\n| `{key}` |" not in PAGE} == set()


def test_every_provider_has_its_table() -> None:
    for file in (ROOT / "src" / "fiatkit" / "models" / "providers").glob("[a-z]*.py"):
        table = PAGE.split(f"### Run file, `large` with `provider: {file.stem}`\n")[1]
        assert "| `model` | text |" in table.split("###")[0]
