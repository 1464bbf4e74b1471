"""Tables in memory as records: pandas, polars, pyarrow, and whatever else speaks Arrow."""

from __future__ import annotations

from collections.abc import Iterator

from fiatkit.data import arrow
from fiatkit.errors import DataError


def read(name: str, frame: object) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the row from 1, values) of a table with Arrow's interface.

    Raises:
        DataError: it has no such interface, or columns of mixed types.
        MissingExtraError: pyarrow is not installed.
    """
    if not hasattr(frame, "__arrow_c_stream__"):
        raise DataError(
            f'The frame "{name}" is a {type(frame).__name__}; a table of pandas (2.2 or newer), '
            "polars, pyarrow or another package with Arrow's interface (__arrow_c_stream__) is "
            "needed.",
            "A list of dicts becomes one by pandas.DataFrame(rows).",
        )
    pyarrow = arrow.pyarrow("A frame")
    try:
        table = pyarrow.table(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f'The frame "{name}" cannot be read: {error}.',
            "Give each column one type, for example by frame.astype(str).",
        ) from None
    batches = table.to_batches(max_chunksize=arrow.BATCH)
    yield from arrow.records(f"frame {name}", table.column_names, batches)
