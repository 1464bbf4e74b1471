"""Data sets of the hub: `hub:OWNER/NAME`, `hub:OWNER/NAME:SPLIT`, `hub:OWNER/NAME:CONFIG:SPLIT`.

`hub:OWNER/NAME@REVISION` holds a data set to one commit. A folder in place of OWNER/NAME works too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiatkit.data import arrow
from fiatkit.errors import DataError, MissingExtraError

MARK = "hub:"


def is_hub(path: Path) -> bool:
    """Whether a path names a data set of the hub."""
    return str(path).startswith(MARK)


def read(name: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the row from 1, values); classes are given by name, not by number.

    Raises:
        DataError: no such data set, configuration or split, or it cannot be fetched.
        MissingExtraError: the package `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub", "A data set of the hub") from None
    data = _split(name, _load(datasets, name))
    classes = {
        column: feature.names
        for column, feature in data.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    batches = data.with_format("arrow").iter(batch_size=arrow.BATCH)
    for number, values in arrow.records(name, data.column_names, batches):
        for column, names in classes.items():
            value = values[column]
            values[column] = names[value] if isinstance(value, int) and value >= 0 else None
        yield number, values


def _parts(name: str) -> tuple[str, str | None, str | None, str | None]:
    """Data set, revision, configuration and split."""
    parts = name.removeprefix(MARK).split(":")
    if not parts[0] or len(parts) > 3 or "" in parts:
        raise DataError(
            f'"{name}" names no data set of the hub.',
            "Write hub:OWNER/NAME, hub:OWNER/NAME:SPLIT or hub:OWNER/NAME:CONFIG:SPLIT.",
        )
    data, _, revision = parts[0].partition("@")
    config = parts[1] if len(parts) == 3 else None
    return data, revision or None, config, parts[-1] if len(parts) > 1 else None


def _load(datasets: Any, name: str) -> Any:
    """All splits of the data set."""
    data, revision, config, _ = _parts(name)
    try:
        return datasets.load_dataset(data, config, revision=revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f'Cannot load "{name}": {" ".join(str(error).split())[:500]}',
            "Look at the data set's page for its configurations and splits, and at the network.",
        ) from None


def _split(name: str, splits: Any) -> Any:
    wanted = _parts(name)[3]
    if wanted is None and len(splits) == 1:
        return next(iter(splits.values()))
    if wanted not in splits:
        told = f'has no split "{wanted}"' if wanted else "has several splits"
        raise DataError(
            f'"{name}" {told}; there are {", ".join(splits)}.',
            f'Write one of them behind a colon, as in "{MARK}OWNER/NAME:{next(iter(splits))}".',
        )
    return splits[wanted]
