"""A row with the place where it stands, and the one door to all readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fiatkit import registry
from fiatkit.errors import DataError

ROOM = "data.readers"


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file. `line` is 1-based: where the record begins."""

    file: str
    line: int
    values: Mapping[str, object]

    @property
    def place(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.file}, line {self.line}"


def read_rows(path: Path) -> list[Row]:
    """Read a file by the reader that claims its suffix.

    Raises:
        DataError: no reader for the suffix, a file that cannot be read, a malformed record, or
            a file without rows; the message names file and line.
    """
    readers = {name: registry.get(ROOM, name) for name in registry.names(ROOM)}
    suffixes = {suffix: module for module in readers.values() for suffix in module.SUFFIXES}
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
