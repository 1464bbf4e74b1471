"""Arrow tables as records of plain Python values: what Parquet, the hub and frames share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fiatkit.data.columns import repeated
from fiatkit.errors import DataError, MissingExtraError

BATCH = 256  # rows that are in memory twice


def pyarrow(what: str) -> Any:
    """The package pyarrow. Raises MissingExtraError, naming `what` needs it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", what) from None
    return pyarrow


def records(
    place: str, names: Sequence[str], batches: Iterable[Any]
) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the row from 1, values). A NaN is a missing value, as None is.

    Args:
        place: the file or frame, for messages.
        names: of the columns.
        batches: tables or record batches.

    Raises:
        DataError: a column named twice, or text that is not Unicode.
    """
    twice = repeated(names)
    if twice is not None:
        raise DataError(f'"{place}": the column "{twice}" stands there twice.', "Rename one.")
    number = 0
    try:
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                yield number, {name: _plain(value) for name, value in values.items()}
    except UnicodeDecodeError as error:
        raise DataError(
            f'"{place}", after row {number}: text that is not UTF-8 ({error.reason}).',
            "Mend the text where the file was made.",
        ) from None


def _plain(value: object) -> object:
    return None if isinstance(value, float) and value != value else value
