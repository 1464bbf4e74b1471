"""Readers: the same rows whatever the encoding and line ends; clear refusals with line numbers."""

from pathlib import Path

import pytest

from fiatkit.data import group_rows, read_rows
from fiatkit.data.rows import Row
from fiatkit.errors import DataError

CSV = 'id,text\n1,"a, b"\n2,é\n'


def written(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def values(path: Path) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path)]


@pytest.mark.parametrize(
    "raw",
    [
        CSV.encode(),
        CSV.encode("utf-8-sig"),
        CSV.encode("utf-16"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.rstrip("\n").encode(),
        CSV.replace("a, b", "a; b").replace(",", ";").replace("a; b", "a, b").encode(),
    ],
)
def test_I07_encodings_and_line_ends_give_the_same_rows(tmp_path: Path, raw: bytes) -> None:
    found = values(written(tmp_path, "x.csv", raw))
    assert found == [{"id": "1", "text": "a, b"}, {"id": "2", "text": "é"}]


def test_I08_latin1_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "id,text\n1,café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 2, byte 13 \(0xe9\)"):
        read_rows(path)


def test_I11_jsonl_lines_end_with_newline_only(tmp_path: Path) -> None:
    text = '{"t": "a\u2028b\u0085c"}\n{"t": "d"}'
    assert [v["t"] for v in values(written(tmp_path, "x.jsonl", text.encode()))] == [
        "a\u2028b\u0085c",
        "d",
    ]


def test_I13_a_long_csv_field(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", f'id,text\n1,"{"x" * 300_000}"\n'.encode())
    assert len(str(values(path)[0]["text"])) == 300_000


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ("[" * 100_000, "not valid JSON"),
        ('"text"', "not an object"),
        ("{'a': 1}", "not valid JSON"),
    ],
)
def test_I14_json_that_is_refused(tmp_path: Path, line: str, told: str) -> None:
    path = written(tmp_path, "x.jsonl", b'{"a": 1}\n' + line.encode())
    with pytest.raises(DataError, match=rf"line 2.*{told}"):
        read_rows(path)


@pytest.mark.parametrize("raw", [b"", b"id,text\n", b"\n\n"])
def test_I01_files_without_rows(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(DataError, match=r"no rows|no header"):
        read_rows(written(tmp_path, "x.csv", raw))


def test_a_record_of_another_length_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", b'id,text\n1,"a\nb"\n2,c,d\n')
    with pytest.raises(DataError, match="line 4: 3 fields"):
        read_rows(path)


def test_an_unknown_suffix_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.csv, \.json, \.jsonl"):
        read_rows(written(tmp_path, "x.xls", b"x"))


def test_I21_groups_are_linked_in_chains() -> None:
    table = [("1", "p"), ("2", "p"), ("2", "q"), ("3", "r"), ("", "")]
    rows = [Row("f", i, {"a": a, "b": b}) for i, (a, b) in enumerate(table)]
    first, second, third, fourth, fifth = group_rows(rows, ["a", "b"])
    assert first == second == third
    assert len({first, fourth, fifth}) == 3
    back = group_rows(rows[::-1], ["a", "b"])[::-1]
    assert back[:4] == [first, second, third, fourth], "names do not depend on the order"


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_I07_carriage_returns_alone_end_lines(tmp_path: Path, name: str) -> None:
    text = "id,t\r1,a\r2,b\r" if name.endswith("csv") else '{"id":"1","t":"a"}\r{"id":"2","t":"b"}'
    found = values(written(tmp_path, name, text.encode()))
    assert found == [{"id": "1", "t": "a"}, {"id": "2", "t": "b"}]


def test_I08_the_byte_counts_from_the_begin_of_the_file_with_a_mark_too(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", b"\xef\xbb\xbfid,text\n1,caf\xe9\n")
    with pytest.raises(DataError, match=r"line 2, byte 16 \(0xe9\)"):
        read_rows(path)


@pytest.mark.parametrize(
    "line", [r'{"a": "\ud83d"}', r'{"\udc00": 1}', r'{"a": [{"b": "\ud83d x"}]}']
)
def test_I10_half_a_surrogate_pair_is_refused_wherever_it_stands(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"line 2: holds half of a surrogate pair"):
        read_rows(written(tmp_path, "x.jsonl", ('{"a": "\\ud83d\\ude00"}\n' + line).encode()))
