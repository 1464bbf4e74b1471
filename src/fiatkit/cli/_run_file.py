"""Read a run file and apply the flags that change it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiatkit.config import RunConfig


def read_run_file(
    path: Path, out: Path | None = None, store: Path | None = None, folds: int | None = None
) -> RunConfig:
    """Read `path`; `out`, `store` and `folds`, when given, win over the file.

    Raises:
        SettingsError: the file is wrong, or its data cannot be divided into folds.
    """
    from fiatkit.config import read_config
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
    return config.model_copy(update=updates)
