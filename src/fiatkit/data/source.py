"""A file as lines of text: decompressed under caps, decoded strictly. Knows nothing of formats."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fiatkit.errors import DataError
from fiatkit.files import similar_file

MAX_ROW = 16 * 2**20  # characters
MAX_DOCUMENT = 512 * 2**20  # characters of a file that must be read as a whole
MAX_UNPACKED = 16 * 2**30  # bytes
MAX_RATIO = 200  # unpacked to packed bytes, looked at from RATIO_FROM unpacked bytes on
RATIO_FROM = 8 * 2**20
HEAD = 2**20

PACKED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a reader reads.

    Attributes:
        path: the file, which may be compressed (.gz, .bz2, .xz).
        encoding: the encoding that the user names. Without one it is UTF-8, or what a byte-order
            mark says; it is never guessed from the text.
    """

    path: Path
    encoding: str | None = None

    @property
    def inner(self) -> Path:
        """The path without the suffix of compression: what names the format."""
        return unpacked(self.path)

    @property
    def packed(self) -> bool:
        """Whether the file is compressed."""
        return self.inner != self.path

    def lines(self, end: str = "") -> Iterator[str]:
        """Yield the lines with their ends, never more than one in memory.

        Args:
            end: what ends a line; by default newline, carriage return, or both together.

        Raises:
            DataError: the file cannot be read, is in another encoding, or a line is too long.
        """
        with self._text(end) as text:
            number = 0
            while line := text.readline(MAX_ROW + 1):
                number += 1
                if len(line) > MAX_ROW:
                    raise DataError(
                        f'"{self.path}", line {number}: longer than {MAX_ROW:,} characters, the '
                        "most that a row may have.",
                        "Is it the right file, with a newline after each row?",
                    )
                yield line

    def line_end(self) -> str:
        """A newline, or a carriage return for a file that has no newline (of the old Mac)."""
        with self._text("") as text:
            head = text.read(HEAD)
        return "\r" if "\r" in head and "\n" not in head else "\n"

    def text(self) -> str:
        """The whole text. Raises DataError as `lines` does, or if it is too long."""
        with self._text("") as text:
            pieces = iter(lambda: text.read(HEAD), "")  # read(n) takes n bytes of memory at once
            found = "".join(itertools.islice(pieces, MAX_DOCUMENT // HEAD + 1))
        if len(found) > MAX_DOCUMENT:
            raise DataError(
                f'"{self.path}" has more than {MAX_DOCUMENT:,} characters, too many for a file '
                "that must be read as a whole.",
                "Save it as JSON lines (.jsonl), which are read one by one.",
            )
        return found

    def stamp(self) -> tuple[int, int]:
        """What changes when the file does: its size and its time. Raises DataError."""
        with self._explained():
            status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    @contextlib.contextmanager
    def _text(self, newline: str) -> Iterator[TextIO]:
        encoding, mark = self._encoding()
        try:
            with self._explained(), self._bytes() as raw:
                raw.read(mark)
                yield io.TextIOWrapper(raw, encoding, newline=newline)
        except UnicodeDecodeError:
            raise self._undecodable(encoding, mark) from None
        except UnicodeError as error:  # such as UTF-16 without its byte-order mark
            raise DataError(
                f'"{self.path}" cannot be read as {encoding}: {error}.',
                "Name the order of bytes, utf-16-le or utf-16-be, or another encoding.",
            ) from None

    @contextlib.contextmanager
    def _bytes(self) -> Iterator[BinaryIO]:
        opened = PACKED.get(self.path.suffix.lower())
        if opened is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with opened(self.path) as file:
                yield io.BufferedReader(_Capped(self.path, file))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
            raise self._damaged(error) from None
        except OSError as error:
            if self.packed and error.errno is None:  # bz2 has no error of its own
                raise self._damaged(error) from None
            raise DataError(
                f'Cannot read "{self.path}": {error.strerror or error}.',
                similar_file(self.path)
                or "Check the path; one in a run file begins where the run file is.",
            ) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f'"{self.path}" is not a whole {self.path.suffix} file ({error}).',
            "Copy or make it again.",
        )

    def _encoding(self) -> tuple[str, int]:
        """The encoding, and how many bytes the byte-order mark has."""
        with self._explained(), self._bytes() as raw:
            head = raw.read(4)
        mark, told = next(((m, name) for m, name in MARKS if head.startswith(m)), (b"", ""))
        if self.encoding is None:
            return told or "utf-8", len(mark)
        named = codecs.lookup(self.encoding).name.removesuffix("-sig")
        if told and not told.startswith(named):
            raise DataError(
                f'"{self.path}" begins with the byte-order mark of {told.upper()}, but '
                f'data.encoding says "{self.encoding}".',
                "Leave data.encoding out, or save the file without the mark.",
            )
        return told or self.encoding, len(mark)

    def _undecodable(self, encoding: str, mark: int) -> DataError:
        """Look for the first byte that is not of the encoding."""
        decoder = codecs.getincrementaldecoder(encoding)()
        byte, line, value = mark, 1, b""
        with self._explained(), self._bytes() as raw:
            raw.read(mark)
            while not value:
                chunk = raw.read(HEAD)
                try:
                    line += decoder.decode(chunk, final=not chunk).count("\n")
                except UnicodeDecodeError as error:
                    begin = error.object[: error.start].decode(encoding, "replace")
                    line += begin.count("\n")
                    byte += error.start - (len(error.object) - len(chunk))
                    value = error.object[error.start : error.start + 1]
                else:
                    byte += len(chunk)
        return DataError(
            f'"{self.path}" is not {encoding.upper()}: line {line}, byte {byte} '
            f"(0x{value[0]:02x}).",
            "Save the file as UTF-8, or name its encoding: data.encoding: latin-1 in a run file, "
            "--encoding latin-1 of a command that reads the file itself.",
        )


class _Capped(io.RawIOBase):
    """Decompressed bytes, until there are more of them than an honest file has."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._most = max(RATIO_FROM, path.stat().st_size * MAX_RATIO)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        self._count += len(chunk)
        most = min(self._most, MAX_UNPACKED)
        if self._count > most:
            raise DataError(
                f'"{self._path}" unpacks to more than {most:,} bytes; at most {MAX_RATIO} times '
                f"its size and {MAX_UNPACKED:,} bytes are allowed.",
                "If the file is right, unpack it yourself and name the unpacked file.",
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


def unpacked(path: Path) -> Path:
    """The path without the suffix of compression, if it has one."""
    return path.with_suffix("") if path.suffix.lower() in PACKED else path
