"""Faults of input, one test or more each: what a file may hold, and what is refused with its place.

Rows that need a model, a run or much memory are in test_faults_input_runs.py.
"""

import bz2
import codecs
import functools
import gzip
import json
import lzma
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from fiatkit.data import iter_rows, read_rows
from fiatkit.data.source import MAX_ROW, Source
from fiatkit.errors import DataError, SettingsError, UsageError
from fiatkit.settings import parse
from fiatkit.tasks import DataSettings, DataSplits, Task, load_data, load_new_rows

VALUES = {
    "name": "toy",
    "id": "id",
    "fields": ["text"],
    "target": "label",
    "labels": ["neg", "negative", "café"],
    "reasoning": {"instruction": "Say. End with Answer: and the label."},
    "tuning": {"instruction": "Say."},
}
HEAD = "id,text,label"
GOOD = [f"{i},text {i},{['neg', 'negative', 'café'][i % 3]}" for i in range(12)]


def task(**changes: object) -> Task:
    return parse(Task, {**VALUES, **changes}, "task.yaml")


def written(folder: Path, name: str, raw: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    return path


def table(*lines: str, head: str = HEAD) -> str:
    return "\n".join([head, *lines]) + "\n"


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(path: Path, of: Task | None = None, **settings: object) -> DataSplits:
    values = {"dev_rows": 1, "test_rows": 1, **settings}
    return load_data(of or task(), DataSettings(file=path, **values))  # type: ignore[arg-type]


def texts(data: DataSplits) -> dict[str, str]:
    return {e.id: e.query.fields["text"] for e in (*data.train, *data.dev, *data.test)}


def values(path: Path, encoding: str | None = None) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path, encoding)]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("x.csv", ""),
        ("x.csv", HEAD),
        ("x.csv", "\n\n"),
        ("x.jsonl", ""),
        ("x.jsonl", "\n \n"),
        ("x.json", "[]"),
        ("x.json", '{"rows": []}'),
        ("x.json", ""),
    ],
)
def test_I01_a_file_without_rows_is_an_error_of_the_user(
    tmp_path: Path, name: str, raw: str
) -> None:
    with pytest.raises(UsageError, match=rf"{name}") as caught:
        load(written(tmp_path, name, raw))
    assert caught.value.exit_code == 2


def test_I01_a_parquet_file_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([], "string")}), path)
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(path)


def test_I01_one_row_works(tmp_path: Path) -> None:
    (query,) = load_new_rows(task(), written(tmp_path, "x.csv", table("1,hello,neg"))).queries
    assert (query.id, dict(query.fields)) == ("1", {"text": "hello"})


def test_I02_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", table(*GOOD, head="id,text,labl"))
    with pytest.raises(DataError, match='no column label; there are id, text, labl.*"labl"'):
        load(path)


def test_I02_extra_and_reordered_columns_change_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", table(*GOOD))
    cells = [line.split(",") for line in GOOD]
    other = table(*(f"{c},zzz,{a},{b}" for a, b, c in cells), head="label,extra,id,text")
    assert load(path) == load(written(tmp_path, "y.csv", other))


BLANK = [
    ("x.csv", table(*GOOD, "90,,neg", '91,"  ",neg', "92,x,"), (14, 15, 16)),
    (
        "x.jsonl",
        jsonl(
            *({"id": i, "text": f"t{i}", "label": "neg"} for i in range(12)),
            {"id": 90, "text": None, "label": "neg"},
            {"id": 91, "text": "\u2003\n", "label": "neg"},
            {"id": 92, "text": "x", "label": ""},
        ),
        (13, 14, 15),
    ),
]


@pytest.mark.parametrize(("name", "raw", "lines"), BLANK)
def test_I03_blank_texts_and_targets_are_listed_or_counted(
    tmp_path: Path, name: str, raw: str, lines: tuple[int, ...]
) -> None:
    path = written(tmp_path, name, raw)
    with pytest.raises(DataError, match="3 bad rows") as caught:
        load(path)
    for line, column in zip(lines, ("text", "text", "label"), strict=True):
        assert f"line {line}: {column} is empty" in caught.value.message
    assert "skip_bad" in caught.value.hint
    data = load(path, skip_bad=True)
    assert set(texts(data)) == {str(i) for i in range(12)}
    assert any("3 bad rows were skipped (skip_bad), such as " in note for note in data.notes)


def test_I03_nan_in_a_frame_is_a_missing_text(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": [1, 2], "text": [1.5, float("nan")], "label": ["neg", "neg"]})
    with pytest.raises(DataError, match="frame file, row 2: text is empty"):
        load_data(task(), DataSettings(), {"file": frame})


def test_I04_double_ids_are_told_by_the_first_five_pairs_of_lines(tmp_path: Path) -> None:
    again = [line.replace("text", "other text") for line in GOOD[:7]]
    path = written(tmp_path, "x.csv", table(*GOOD, *again))
    with pytest.raises(DataError) as caught:
        load(path)
    told = caught.value.message.splitlines()
    assert told[0] == "7 rows with an id that another row has:"
    for number, line in enumerate(told[1:6]):
        assert f"line {number + 14}:" in line and line.endswith(f"line {number + 2} too")
    assert told[6] == "... and 2 more"
    assert "data.on_duplicate: first" in caught.value.hint


def test_I04_the_first_row_of_an_id_is_kept_where_the_user_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", table(*GOOD, "3,another text,neg", "3,a third,neg"))
    data = load(path, on_duplicate="first")
    assert texts(data) == {str(i): f"text {i}" for i in range(12)}
    assert "2 rows with the id of an earlier row were left out (on_duplicate)" in data.notes


def test_I04_keeping_the_first_hides_no_overlap_of_two_files(tmp_path: Path) -> None:
    train = written(tmp_path, "train.csv", table(*GOOD))
    test = written(tmp_path, "test.csv", table("3,never seen,neg"))
    settings = DataSettings(train=train, test=test, dev_rows=0, on_duplicate="first")
    with pytest.raises(
        DataError, match=r'test.csv, line 2: the id "3" .*train.csv, line 5'
    ) as caught:
        load_data(task(), settings)
    assert "on_duplicate" not in caught.value.hint


@pytest.mark.parametrize(
    ("label", "nearest"),
    [
        ("Neg", "neg"),
        (" neg", "neg"),
        ("neg ", "neg"),
        ("negativ", "negative"),
        (unicodedata.normalize("NFD", "café"), "café"),
        ("cafe", "café"),
    ],
)
def test_I05_a_label_outside_the_set_is_an_error_and_never_mapped(
    tmp_path: Path, label: str, nearest: str
) -> None:
    path = written(tmp_path, "x.csv", table(*GOOD, f'99,x,"{label}"'))
    with pytest.raises(DataError, match="line 14: label") as caught:
        load(path)
    assert f'"{label}" is not one of neg, negative, café; nearest: "{nearest}"' in str(caught.value)
    targets = {e.target for e in load(path, skip_bad=True).train}
    assert targets <= {"neg", "negative", "café"}


def test_I06_one_class_and_single_rows_are_remarked(tmp_path: Path) -> None:
    one = written(tmp_path, "x.csv", table(*(f"{i},text {i},neg" for i in range(9))))
    notes = load(one).notes
    assert "no training row has the label negative, café" in notes
    assert "all training rows have one label, so that nothing can be learnt from them" in notes
    train = [f"{i},text {i},{'neg' if i else 'café'}" for i in range(9)]
    files = {
        "train": written(tmp_path, "train.csv", table(*train)),
        "test": written(tmp_path, "test.csv", table("a,new,neg")),
    }
    notes = load_data(task(), DataSettings(**files, dev_rows=0)).notes  # type: ignore[arg-type]
    assert "only one training row has the label café" in notes
    assert load(written(tmp_path, "y.csv", table(*GOOD))).notes == ()


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "none at the end"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32"])
def test_I07_every_mark_and_line_end_gives_the_same_rows(
    tmp_path: Path, name: str, ends: str, encoding: str
) -> None:
    rows = [{"id": "1", "text": "é ሳ"}, {"id": "2", "text": "🏴"}]
    clean = {
        "x.csv": "id,text\n1,é ሳ\n2,🏴\n",
        "x.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "x.json": json.dumps(rows, ensure_ascii=False, indent=1) + "\n",
    }[name]
    text = clean.rstrip("\n") if " " in ends else clean.replace("\n", ends)
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    path = written(tmp_path, name, mark + text.encode(encoding))
    assert values(path) == rows


def test_I08_another_encoding_is_refused_with_line_and_byte_until_it_is_named(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "x.csv", table(*GOOD[:2], "99,naïf,neg", *GOOD[3:]).encode("latin-1"))
    place = path.read_bytes().index(b"\xef")
    with pytest.raises(DataError, match=rf"not UTF-8: line 4, byte {place} \(0xef\)") as caught:
        load(path)
    assert "data.encoding" in caught.value.hint
    assert texts(load(path, encoding="latin-1"))["99"] == "naïf"


def test_I08_a_file_of_mixed_encodings_is_refused_far_behind_its_begin(tmp_path: Path) -> None:
    whole = "".join(f"{i},größer,neg\n" for i in range(100_000)).encode()
    raw = table().encode() + whole + "x,größer,neg\n".encode("cp1252") + whole
    place = raw.index(b"\xf6")
    path = written(tmp_path, "x.csv", raw)
    with pytest.raises(DataError, match=rf"line 100002, byte {place} \(0xf6\)"):
        read_rows(path)


def test_I08_a_cut_character_at_the_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl", '{"a": "b"}\n{"a": "é'.encode()[:-1])
    with pytest.raises(DataError, match=r"line 2, byte 18 \(0xc3\)"):
        read_rows(path)
    path = written(tmp_path, "y.jsonl", '\ufeff{"a": "b"}\n{"a": "é'.encode("utf-16-le")[:-1])
    with pytest.raises(DataError, match=r"not UTF-16-LE: line 2, byte 38 \(0xe9\)"):
        read_rows(path)


def test_I08_an_encoding_that_contradicts_the_mark_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", codecs.BOM_UTF16_LE + "id\n1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match='mark of UTF-16-LE, but data.encoding says "latin-1"'):
        read_rows(path, "latin-1")
    for fitting in ("utf-16", "utf-16-le"):
        assert values(path, fitting) == [{"id": "1"}]
    marked = written(tmp_path, "y.csv", codecs.BOM_UTF8 + b"id\n1\n")
    for fitting in ("utf-8", "utf-8-sig"):
        assert values(marked, fitting) == [{"id": "1"}]


@pytest.mark.parametrize("name", ["latin-77", "base64", "rot13"])
def test_I08_an_unknown_encoding_is_refused_with_the_settings(name: str) -> None:
    with pytest.raises(SettingsError, match="encoding: there is no encoding"):
        parse(DataSettings, {"file": "x.csv", "encoding": name}, "run.yaml")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x.parquet"])
def test_I09_a_nul_is_kept(tmp_path: Path, name: str) -> None:
    rows = [{"id": str(i), "text": f"a\0b {i}", "label": "neg"} for i in range(6)]
    path = tmp_path / name
    if name == "x.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        raw = {
            "x.csv": table(*(",".join(row.values()) for row in rows)),
            "x.jsonl": jsonl(*rows),
            "x.json": json.dumps(rows),
        }
        written(tmp_path, name, raw[name])
    data = load(path)
    assert texts(data) == {str(i): f"a\0b {i}" for i in range(6)}
    assert "6 rows hold control characters, kept as they are" in data.notes


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("x.jsonl", b'{"text": "ok"}\n{"text": "\\ud800"}', "line 2: holds half of a surrogate"),
        ("x.json", b'[{"text": "ok"}, {"text": "x \\uDFFF"}]', "row 2: holds half of a surrogate"),
        ("x.jsonl", b'{"text": "ok"}\n{"text": "\xed\xa0\x80"}', r"line 2, byte 25 \(0xed\)"),
        ("x.csv", b"text\n\xed\xa0\x80\n", r"line 2, byte 5 \(0xed\)"),
    ],
)
def test_I10_half_a_character_is_refused_at_the_door(
    tmp_path: Path, name: str, raw: bytes, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read_rows(written(tmp_path, name, raw))


def test_I10_half_a_character_in_parquet_and_in_a_frame_is_refused(tmp_path: Path) -> None:
    raw = pyarrow.array([b"ok", b"\xed\xa0\x80"], pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": raw}), path)
    with pytest.raises(DataError, match="text that is not UTF-8"):
        read_rows(path)
    frame = pandas.DataFrame({"text": ["\ud800"]}, dtype=object)
    with pytest.raises(DataError, match='The frame "file" cannot be read'):
        load_data(task(), DataSettings(), {"file": frame})


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_I11_only_a_newline_ends_a_line(tmp_path: Path, mark: str) -> None:
    row = {"id": "1", "text": f"a{mark}b"}
    raw = json.dumps(row, ensure_ascii=False) + "\n"
    assert values(written(tmp_path, "x.jsonl", raw)) == [row]
    assert values(written(tmp_path, "x.csv", f"id,text\n1,a{mark}b\n")) == [row]


def test_I13_a_csv_field_may_be_as_long_as_a_row_may_be(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", f'id,text\n1,"{"x" * 131_073}"\n2,{"y" * 5_000_000}\n')
    assert [len(str(row["text"])) for row in values(path)] == [131_073, 5_000_000]


def test_I14_ids_are_text(tmp_path: Path) -> None:
    ids = [1, 2.5, 10**30, True, "01"]
    rows = [{"id": i, "text": "x", "label": "neg"} for i in ids]
    queries = load_new_rows(task(), written(tmp_path, "x.jsonl", jsonl(*rows))).queries
    assert [query.id for query in queries] == ["1", "2.5", str(10**30), "true", "01"]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


TOO_MUCH = r"unpacks to more than [\d,]+ bytes; at most 200 times|longer than 16,777,216 char"


@functools.cache
def bomb(packer: str) -> bytes:
    return PACKERS[packer](b"\0" * 100_000_000)


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
@pytest.mark.parametrize("packer", PACKERS)
def test_I18_a_bomb_is_refused_and_fills_no_memory(tmp_path: Path, packer: str, name: str) -> None:
    path = written(tmp_path, f"{name}.{packer}", bomb(packer))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=TOO_MUCH):
            read_rows(path)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000, packer
    finally:
        tracemalloc.stop()


def test_I18_a_bomb_of_short_rows_is_refused(tmp_path: Path) -> None:
    raw = ("text\n" + ("x" * 999 + "\n") * 30_000).encode()
    path = written(tmp_path, "x.csv.xz", lzma.compress(raw, preset=0))
    with pytest.raises(DataError, match="at most 200 times its size"):
        read_rows(path)


def test_I18_what_honest_texts_unpack_to_is_read(tmp_path: Path) -> None:
    raw = table(*(f"{i},the same words again and again,neg" for i in range(100_000)))
    path = written(tmp_path, "x.csv.gz", gzip.compress(raw.encode()))
    assert sum(1 for _ in iter_rows(path)) == 100_000


@pytest.mark.parametrize(
    ("name", "size"), [("x.jsonl", 100), ("x.csv", 100), ("x.json", 17), ("x.parquet", 17)]
)
def test_I18_a_row_of_100_mb_is_refused(tmp_path: Path, name: str, size: int) -> None:
    long = "x" * (size * 1_000_000)
    path = tmp_path / name
    if name == "x.parquet":
        table_of_one = pyarrow.table({"text": [long]})
        pyarrow.parquet.write_table(table_of_one, path, compression="none", use_dictionary=False)
    else:
        raw = {
            "x.jsonl": f'{{"text": "{long}"}}\n',
            "x.csv": f"text\n{long}\n",
            "x.json": f'[{{"text": "{long}"}}]',
        }
        written(tmp_path, name, raw[name])
    with pytest.raises(DataError, match=rf"(line|row) \d: .*longer than {MAX_ROW:,} characters"):
        read_rows(path)
    path.unlink()


def test_I18_a_csv_record_that_never_ends_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", 'id,text\n1,"' + "never closed\n" * 1_500_000)
    with pytest.raises(DataError, match="field larger than field limit"):
        read_rows(path)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json", "x.parquet"])
def test_I18_ten_thousand_columns_are_refused(tmp_path: Path, name: str) -> None:
    row = {f"c{i}": "1" for i in range(10_000)}
    path = tmp_path / name
    if name == "x.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    else:
        raw = {
            "x.jsonl": jsonl(row),
            "x.csv": table(",".join(row.values()), head=",".join(row)),
            "x.json": json.dumps([row]),
        }
        written(tmp_path, name, raw[name])
    with pytest.raises(DataError, match="10,000 columns; at most 2,000 are allowed"):
        read_rows(path)


def test_I19_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl", jsonl(*({"id": i} for i in range(9))))
    rows = iter_rows(path)
    next(rows)
    with path.open("a") as file:
        file.write('{"id": 9}\n')
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)
    rows = iter_rows(path)
    next(rows)
    path.write_text('{"id": 0}\n{"id": ')
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)
    path.write_text('{"id": 0}\n{"id": 1}\n')
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize("again", ["text 3", "  TEXT\t3 "])
def test_I20_a_test_row_that_repeats_a_training_text_stops_the_run(
    tmp_path: Path, again: str
) -> None:
    train = written(tmp_path, "train.csv", table(*GOOD))
    test = written(tmp_path, "test.csv", table("new,something else,neg", f"90,{again},neg"))
    settings = DataSettings(train=train, test=test, dev_rows=0)
    with pytest.raises(DataError, match='Row "90" of test and row "3" of train have the same text'):
        load_data(task(), settings)


def test_I21_groups_of_a_file_never_cross_its_splits(tmp_path: Path) -> None:
    lines = [f"{i},text {i},{['neg', 'café'][i % 2]},g{i % 20}" for i in range(100)]
    path = written(tmp_path, "x.csv", table(*lines, head=HEAD + ",passage"))
    data = load(path, task(group="passage"), dev_rows=20, test_rows=30)
    groups = [{e.group for e in rows} for rows in (data.train, data.dev, data.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert [len(data.dev), len(data.test)] == [20, 30]


def test_I08_utf_16_without_its_mark_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("id,text\n1,one\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="cannot be read as utf-16"):
        list(Source(path, encoding="utf-16").lines())
