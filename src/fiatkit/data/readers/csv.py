"""CSV and TSV with a header row. Fields may hold newlines, and be of any length."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from fiatkit.data.rows import read_text
from fiatkit.errors import DataError

SUFFIXES = (".csv", ".tsv")


def read(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line of the record's begin, values). The separator is a tab for .tsv; for .csv it is
    whichever of comma, semicolon and tab stands most often in the header.

    Raises:
        DataError: no header, a column named twice, or a record with too many or too few fields.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    text = read_text(path)
    header_line = text.split("\n", 1)[0]
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        begin = reader.line_num + 1
        for record in reader:
            if record:
                if len(record) != len(header):
                    raise DataError(
                        f'"{path}", line {begin}: {len(record)} fields, but the header has '
                        f"{len(header)}.",
                        "Put fields that hold the separator, quotes or newlines into quotes.",
                    )
                yield begin, dict(zip(header, record, strict=True))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f'"{path}", line {reader.line_num}: {error}.') from None


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f'"{path}" has no header row.', "The first line names the columns.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f'"{path}", line 1: the column "{twice[0]}" stands there twice.')
