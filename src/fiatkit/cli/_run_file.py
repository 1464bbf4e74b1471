"""Read a run file and apply the flags that change it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiatkit.config import RunConfig


def read_run_file(path: Path, out: Path | None = None, store: Path | None = None) -> RunConfig:
    """Read `path`; `out` and `store`, when given, win over the file."""
    from fiatkit.config import read_config

    config = read_config(path)
    updates: dict[str, Any] = {}
    if out is not None:
        updates["out"] = out.absolute()
    if store is not None:
        updates["store"] = store.absolute()
    return config.model_copy(update=updates)
