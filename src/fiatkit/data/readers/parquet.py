"""Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

from fiatkit.data import arrow
from fiatkit.data.source import MAX_RATIO, MAX_UNPACKED, RATIO_FROM, Source
from fiatkit.errors import DataError

SUFFIXES = (".parquet", ".pq")
COUNTED = "row"


def read(source: Source) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the row from 1, values).

    Raises:
        DataError: no Parquet file, a damaged one, or one that unpacks to too much.
        MissingExtraError: pyarrow is not installed.
    """
    if source.packed:
        raise DataError(
            f'"{source.path}": Parquet is compressed in itself, and cannot be read through '
            f"{source.path.suffix}.",
            "Unpack the file.",
        )
    pyarrow = arrow.pyarrow("A Parquet file")
    try:
        with pyarrow.parquet.ParquetFile(source.path) as file:
            groups = range(file.metadata.num_row_groups)
            size = sum(file.metadata.row_group(index).total_byte_size for index in groups)
            _check_size(source, size)
            names = file.schema_arrow.names
            batches = file.iter_batches(batch_size=arrow.BATCH)
            yield from arrow.records(str(source.path), names, batches)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f'"{source.path}" cannot be read as Parquet: {" ".join(str(error).split())}.',
            "Is it whole, and a Parquet file? Make it again if in doubt.",
        ) from None


def _check_size(source: Source, size: int) -> None:
    most = min(MAX_UNPACKED, max(RATIO_FROM, source.stamp()[0] * MAX_RATIO))
    if size > most:
        raise DataError(
            f'"{source.path}" unpacks to {size:,} bytes; at most {MAX_RATIO} times its size and '
            f"{MAX_UNPACKED:,} bytes are allowed.",
            "If the file is right, save it as JSON lines.",
        )
