"""A row with the place where it stands, and the one door to all readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fiatkit import registry
from fiatkit.errors import DataError

ROOM = "data.readers"


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file. `line` is 1-based: where the record begins.

    `folder` is the name of the folder if it was read as a whole, else empty.
    """

    file: str
    line: int
    values: Mapping[str, object]
    folder: str = ""

    @property
    def source(self) -> str:
        """What ids are made of, with the line: the file's name, under the folder's if read so."""
        name = Path(self.file).name
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def place(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.file}, line {self.line}"


def read_rows(path: Path) -> list[Row]:
    """Read a file by the reader that claims its suffix, or every such file of a folder.

    Raises:
        DataError: no reader for the suffix, a file that cannot be read, a malformed record, or
            a file without rows; the message names file and line.
    """
    readers = {name: registry.get(ROOM, name) for name in registry.names(ROOM)}
    suffixes = {suffix: module for module in readers.values() for suffix in module.SUFFIXES}
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
        if not files:
            raise DataError(
                f'The folder "{path}" holds no file that can be read; readers exist for '
                f"{', '.join(sorted(suffixes))}."
            )
        return [replace(row, folder=path.name) for file in files for row in read_rows(file)]
    reader = suffixes.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f'"{path}" has the ending "{path.suffix}"; readers exist for '
            f"{', '.join(sorted(suffixes))}."
        )
    rows = [Row(str(path), line, values) for line, values in reader.read(path)]
    if not rows:
        raise DataError(f'"{path}" holds no rows.', "One JSON object or one CSV record is a row.")
    return rows


def read_text(path: Path) -> str:
    """Decode a file: UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Raises:
        DataError: the file cannot be read, or is in another encoding; names line and byte.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f'Cannot read "{path}": {error.strerror or error}.') from None
    marks = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
    encoding = next((name for mark, name in marks if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        byte = error.start + len(raw) - len(error.object)  # a mark may be gone from the object
        line = raw.count(b"\n", 0, byte) + 1
        raise DataError(
            f'"{path}" is not {encoding.upper()}: line {line}, byte {byte} '
            f"(0x{raw[byte] if byte < len(raw) else 0:02x}).",
            "Save the file as UTF-8.",
        ) from None
