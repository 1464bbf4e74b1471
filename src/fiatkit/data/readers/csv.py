"""CSV and TSV with a header row. Fields may hold newlines, and be as long as a row may be."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator

from fiatkit.data.columns import repeated
from fiatkit.data.source import MAX_ROW, Source
from fiatkit.errors import DataError

SUFFIXES = (".csv", ".tsv")
SEPARATORS = ",;\t|"


def read(source: Source) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line of the record's begin, values). The separator is a tab for .tsv; for .csv it is
    whichever of comma, semicolon, tab and pipe stands most often in the header.

    Raises:
        DataError: no header, a column named twice, or a record with too many or too few fields.
    """
    csv.field_size_limit(MAX_ROW)
    lines = source.lines()
    first = next(lines, "")
    reader = csv.reader(
        itertools.chain([first], lines), delimiter=_separator(source, first), strict=True
    )
    begin = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(source, header)
        begin = reader.line_num + 1
        for record in reader:
            if record:
                if len(record) != len(header):
                    fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
                    raise DataError(
                        f'"{source.path}", line {begin}: {fields}, but the header has '
                        f"{len(header)}.",
                        "Put fields that hold the separator, quotes or newlines into quotes.",
                    )
                yield begin, dict(zip(header, record, strict=True))
            begin = reader.line_num + 1
    except csv.Error as error:
        opened = str(error) == "unexpected end of data"
        told = "a quote opens here and never closes" if opened else str(error)
        raise DataError(
            f'"{source.path}", line {begin if opened else reader.line_num}: {told}.',
            'A field that holds a quote must stand in quotes, with the quote doubled: "".',
        ) from None


def _separator(source: Source, header: str) -> str:
    if source.inner.suffix.lower() == ".tsv":
        return "\t"
    bare = re.sub('"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _check_header(source: Source, header: list[str]) -> None:
    if not any(header):
        raise DataError(f'"{source.path}" has no header row.', "The first line names the columns.")
    twice = repeated(header)
    if twice is not None:
        raise DataError(
            f'"{source.path}", line 1: the column "{twice}" stands there twice.',
            "Give each column a name of its own.",
        )
