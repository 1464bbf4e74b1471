"""One table in every format that can be read: the same rows, value for value."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from fiatkit.data import frame_rows, read_rows
from fiatkit.errors import DataError

ROWS = [
    {"id": "1", "text": "a, b; c\td | e", "label": "é"},
    {"id": "2", "text": 'quotes " and\nlines', "label": "ሳይንስ"},
    {"id": "3", "text": "🏴‍☠️ \u202eabc\u202c \u2028", "label": "x"},
]


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(separator: str) -> Callable[[list[dict[str, str]]], str]:
    def write(rows: list[dict[str, str]]) -> str:
        quoted = [[value.replace('"', '""') for value in row.values()] for row in rows]
        records = [separator.join(f'"{value}"' for value in record) for record in quoted]
        return "\n".join([separator.join(rows[0]), *records]) + "\n"

    return write


WRITERS: dict[str, tuple[str, Callable[[list[dict[str, str]]], str]]] = {
    "comma": ("x.csv", table(",")),
    "semicolon": ("x.csv", table(";")),
    "tab": ("x.csv", table("\t")),
    "pipe": ("x.csv", table("|")),
    "tsv": ("x.tsv", table("\t")),
    "jsonl": ("x.jsonl", lines),
    "json": ("x.json", json.dumps),
    "json in an object": ("x.json", lambda rows: json.dumps({"version": 1, "data": rows})),
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def written(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def values(path: Path, encoding: str | None = None) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path, encoding)]


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("format", WRITERS)
def test_every_text_format_gives_the_same_rows(tmp_path: Path, format: str, packed: str) -> None:
    name, write = WRITERS[format]
    path = written(tmp_path, name + packed, PACKERS[packed](write(ROWS).encode()))
    assert values(path) == ROWS
    assert [row.source for row in read_rows(path)] == [name] * 3
    assert {row.stem for row in read_rows(path)} == {"x"}


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    found = read_rows(path)
    assert [dict(row.values) for row in found] == ROWS
    assert found[1].place == f"{path}, row 2"


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.Table.from_pylist])
def test_frames_give_the_same_rows(make: Callable[[list[dict[str, str]]], Any]) -> None:
    found = frame_rows("train", make(ROWS))
    assert [dict(row.values) for row in found] == ROWS
    assert found[2].place == "frame train, row 3"


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame])
def test_I03_a_missing_value_of_a_frame_is_never_the_text_nan(make: Any) -> None:
    rows = frame_rows("x", make({"text": ["a", None], "score": [1.5, float("nan")]}))
    assert [dict(row.values) for row in rows] == [
        {"text": "a", "score": 1.5},
        {"text": None, "score": None},
    ]


def test_what_is_no_frame_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='The frame "train" is a list'):
        frame_rows("train", ROWS)
    with pytest.raises(DataError, match='The frame "train" cannot be read'):
        frame_rows("train", pandas.DataFrame({"a": [1, "x"]}, dtype=object))
    with pytest.raises(DataError, match="holds no rows"):
        frame_rows("train", pandas.DataFrame({"a": []}))
    with pytest.raises(DataError, match='column "a" stands there twice'):
        frame_rows("train", pyarrow.table([[1], [2]], names=["a", "a"]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"a": 1}, {"a": 1, "a": 2}]', 'row 2: .*"a" stands there twice'),
        ('[{"a": 1}, {"a": {"b": [NaN]}}]', "row 2: .*NaN is not allowed"),
        ('[{"a": 1e999}]', "row 1: .*1e999 is too large"),
        ('[{"a": %s}]' % ("9" * 5000), "row 1: .*5,000 digits"),
        (r'[{"a": "\ud83d"}]', "row 1: .*half of a surrogate"),
        ('{"data": [{"a": 1}], "x": -Infinity}', "-Infinity is not allowed"),
        ('{"data": [{"a": 1}], "data": [{"a": 2}]}', '"data" stands there twice'),
        ("[" * 100_000, "nested too deeply"),
        ('[{"a": 1},\n {"a": }]', "line 2, column 8"),
        ('[{"a": 1}, 2]', "row 2: holds a int"),
        ('{"a": {"0": 1}}', r"0 lists of objects \(none\)"),
        ('{"a": [{}], "b": [{}]}', r'2 lists of objects \("a", "b"\)'),
        ('"text"', "holds a str"),
        ("[]", "holds no rows"),
    ],
)
def test_I14_json_documents_that_are_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_rows(written(tmp_path, "x.json", text.encode()))


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz"])
def test_a_damaged_compressed_file_is_told(tmp_path: Path, packed: str) -> None:
    whole = PACKERS[packed](lines(ROWS * 50).encode())
    for raw in (b"no such file", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match=f"is not a whole {packed} file"):
            read_rows(written(tmp_path, f"x.jsonl{packed}", raw))


def test_parquet_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "x.parquet", b"no such file")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(path)
    with pytest.raises(DataError, match="compressed in itself"):
        read_rows(written(tmp_path, "x.parquet.gz", b""))
    whole = tmp_path / "whole.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), whole)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(written(tmp_path, "x.parquet", whole.read_bytes()[:-8]))


BLOCKED = """
import sys
sys.modules[sys.argv[1]] = None
from pathlib import Path
from fiatkit.data import read_rows
from fiatkit.errors import MissingExtraError
try:
    read_rows(Path(sys.argv[2]))
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "path", "extra"),
    [("pyarrow", "x.parquet", "parquet"), ("datasets", "hub:owner/name", "hub")],
)
def test_a_missing_package_says_what_to_install(
    tmp_path: Path, package: str, path: str, extra: str
) -> None:
    written(tmp_path, "x.parquet", b"PAR1")
    found = subprocess.run(
        [sys.executable, "-c", BLOCKED, package, path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'pip install "fiatkit[{extra}]"' in found.stdout


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    written(tmp_path, "de.csv.gz", gzip.compress(table(",")(ROWS[:1]).encode()))
    written(tmp_path, "sw.json", json.dumps(ROWS[1:]).encode())
    written(tmp_path, "readme.md", b"nothing")
    found = read_rows(tmp_path)
    assert [dict(row.values) for row in found] == ROWS
    assert [row.source for row in found] == [
        f"{tmp_path.name}/{x}" for x in ("de.csv", "sw.json", "sw.json")
    ]
