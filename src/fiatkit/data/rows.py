"""A row with the place where it stands, and the one door to all readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from fiatkit import registry
from fiatkit.data import frames, hub
from fiatkit.data.columns import MAX_COLUMNS
from fiatkit.data.source import MAX_ROW, PACKED, Source, unpacked
from fiatkit.errors import DataError

ROOM = "data.readers"


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file. `line` is 1-based: where the record begins.

    `folder` is the name of the folder if it was read as a whole, else empty. `counted` says what
    `line` counts: lines, or rows where a format has no lines.
    """

    file: str
    line: int
    values: Mapping[str, object]
    folder: str = ""
    counted: str = "line"

    @property
    def source(self) -> str:
        """What ids are made of, with the line: the file's name, under the folder's if read so."""
        name = unpacked(Path(self.file)).name
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def stem(self) -> str:
        """The file's name without its endings."""
        return unpacked(Path(self.file)).stem

    @property
    def place(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.file}, {self.counted} {self.line}"


def read_rows(path: Path, encoding: str | None = None) -> list[Row]:
    """Read a file by the reader that claims its suffix, or every such file of a folder.

    Args:
        path: the file or folder, or a data set of the hub: `hub:OWNER/NAME:SPLIT`.
        encoding: of text files, if it is not UTF-8.

    Raises:
        DataError: no reader for the suffix, a file that cannot be read, a malformed record, or
            a file without rows; the message names file and line.
        MissingExtraError: the format needs a package that is not installed.
    """
    return list(iter_rows(path, encoding))


def iter_rows(path: Path, encoding: str | None = None) -> Iterator[Row]:
    """Like `read_rows`, one row after the other: the file need not fit into memory."""
    if hub.is_hub(path):
        yield from _checked(str(path), "row", hub.read(str(path)))
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if _suffix(file) in _readers())
        if not files:
            raise DataError(f'The folder "{path}" holds no file that can be read; {_known()}.')
        for file in files:
            for row in iter_rows(file, encoding):
                yield replace(row, folder=path.name)
    else:
        yield from _file_rows(Source(path, encoding))


def frame_rows(name: str, frame: object) -> list[Row]:
    """The rows of a pandas, polars or Arrow table, or of anything else with Arrow's interface.

    Raises:
        DataError: it is no such table, holds no rows, or values that Arrow does not allow.
        MissingExtraError: pyarrow is not installed.
    """
    return list(_checked(f"frame {name}", "row", frames.read(name, frame)))


def _file_rows(source: Source) -> Iterator[Row]:
    reader = _readers().get(_suffix(source.path))
    if reader is None:
        raise DataError(f'"{source.path}" has the ending "{source.path.suffix}"; {_known()}.')
    before = source.stamp()
    changed = DataError(
        f'"{source.path}" changed while it was read.', "Run again when nobody writes it."
    )
    try:
        yield from _checked(
            str(source.path), getattr(reader, "COUNTED", "line"), reader.read(source)
        )
    except DataError:
        if source.stamp() != before:
            raise changed from None
        raise
    if source.stamp() != before:
        raise changed


def _checked(
    file: str, counted: str, records: Iterable[tuple[int, Mapping[str, object]]]
) -> Iterator[Row]:
    """Rows of records, none of them wider or longer than allowed, and at least one."""
    row = None
    for line, values in records:
        row = Row(file, line, values, counted=counted)
        if len(values) > MAX_COLUMNS:
            raise DataError(
                f"{row.place}: {len(values):,} columns; at most {MAX_COLUMNS:,} are allowed.",
                "Keep the columns that the task names.",
            )
        if sum(len(value) for value in values.values() if isinstance(value, str)) > MAX_ROW:
            raise DataError(
                f"{row.place}: the row is longer than {MAX_ROW:,} characters.",
                "No model reads that much at once; cut the text into rows.",
            )
        yield row
    if row is None:
        raise DataError(f'"{file}" holds no rows.', "One JSON object or one CSV record is a row.")


def _readers() -> dict[str, ModuleType]:
    modules = (registry.get(ROOM, name) for name in registry.names(ROOM))
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


def _suffix(path: Path) -> str:
    return unpacked(path).suffix.lower()


def _known() -> str:
    return (
        f"readers exist for {', '.join(sorted(_readers()))}, compressed ones "
        f"({', '.join(PACKED)}) too; save a spreadsheet as .csv"
    )
