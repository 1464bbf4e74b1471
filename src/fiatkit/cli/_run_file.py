"""Read a run file and apply the flags that change it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiatkit.config import RunConfig
    from fiatkit.records import Side


def read_run_file(
    path: Path,
    out: Path | None = None,
    store: Path | None = None,
    folds: int | None = None,
    truncate: Side | None = None,
    recipes: Sequence[str] | None = None,
) -> RunConfig:
    """Read `path`; what else is given wins over the file.

    Raises:
        SettingsError: the file is wrong, or its data cannot be divided into folds.
        UnknownNameError: there is no such recipe.
    """
    from fiatkit.config import read_config
    from fiatkit.recipes import named
    from fiatkit.settings import parse
    from fiatkit.tasks import DataSettings

    config = read_config(path)
    updates: dict[str, Any] = {}
    if out is not None:
        updates["out"] = out.absolute()
    if store is not None:
        updates["store"] = store.absolute()
    if folds is not None:
        values = config.data.model_dump() | {"folds": folds, "test_rows": None}
        updates["data"] = parse(DataSettings, values, f"{path} with --folds {folds}")
    if truncate is not None:
        updates["truncate"] = truncate
    if recipes:
        updates["recipes"] = [name for name in recipes if named(name)]
    return config.model_copy(update=updates)
