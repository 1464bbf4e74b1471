"""Answers from store to store: Parquet, JSON lines, shards; nothing is overwritten or lost."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from fiatkit.errors import DataError, SettingsError
from fiatkit.reasoning import RationaleStore, Shard, completion_key
from fiatkit.records import Completion, Usage

from .test_store import IDENTITY, put, request

pytest.importorskip("pyarrow")


def full(path: Path) -> list[Completion | None]:
    """A store with every kind of value, and what it answers."""
    answers = [
        Completion("plain", "stop", Usage(3, 1, 0, 2), "m", 0.5, "", "thought", (("pl", -0.25),)),
        Completion("a\0b \u2028 é", "length"),
        Completion("", "empty", Usage(None, 0), detail="seen", reasoning="only \ud800 this"),
    ]
    with RationaleStore(path) as store:
        for number, answer in enumerate(answers):
            key = completion_key(IDENTITY, request(f"q{number}"))
            cost = None if number else Decimal("0.000000000001")
            store.commit(
                store.lease(key, run="r"), IDENTITY, request(f"q{number}"), answer, cost=cost
            )
        store.fail(store.lease("f" * 64, run="r"), "http_500")
        return held(store)


def held(store: RationaleStore) -> list[Completion | None]:
    keys = [key for (key,) in store._db.execute("SELECT key FROM completions ORDER BY seq")]
    return [store.get(key) for key in keys]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_export_and_import_are_inverse(tmp_path: Path, name: str) -> None:
    answers = full(tmp_path / "a.sqlite")
    with RationaleStore.read_only(tmp_path / "a.sqlite") as store:
        assert store.export(tmp_path / name) == 3
    with RationaleStore(tmp_path / "b.sqlite") as store:
        assert store.import_(tmp_path / name)["added"] == 3
        assert held(store) == answers
        assert store.verify() == []
        assert store.import_(tmp_path / name)["here already"] == 3
        with RationaleStore.read_only(tmp_path / "a.sqlite") as other:
            assert list(store.difference(other)) == []


def test_a_parquet_file_is_what_others_read(tmp_path: Path) -> None:
    import polars

    full(tmp_path / "a.sqlite")
    with RationaleStore.read_only(tmp_path / "a.sqlite") as store:
        store.export(tmp_path / "out.parquet")
    table = polars.read_parquet(tmp_path / "out.parquet")
    assert table["finish"].to_list() == ["stop", "length", "empty"]
    assert table["text"].to_list()[0] == b"plain"
    assert table["cost"].to_list() == [1, None, None]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_changed_export_is_refused_whole(tmp_path: Path, name: str) -> None:
    import polars

    full(tmp_path / "a.sqlite")
    path = tmp_path / name
    with RationaleStore.read_only(tmp_path / "a.sqlite") as store:
        store.export(path)
    if name.endswith("parquet"):
        table = polars.read_parquet(path).with_columns(seconds=polars.lit(9.0))
        table.write_parquet(path)
    else:
        path.write_text(path.read_text(encoding="utf-8").replace("thought", "Thought"))
    with RationaleStore(tmp_path / "b.sqlite") as store:
        with pytest.raises(DataError, match=r"row 1: the checksum does not hold"):
            store.import_(path)
        assert held(store) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.jsonl", "[1]\n"), ("x.jsonl", "{}\n"), ("x.jsonl", "no\n"), ("x.parquet", "no")],
)
def test_what_is_no_export_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with RationaleStore(tmp_path / "b.sqlite") as store, pytest.raises(DataError):
        store.import_(tmp_path / name)


def test_an_export_of_the_first_schema_can_be_imported(tmp_path: Path) -> None:
    with RationaleStore(tmp_path / "a.sqlite") as store:
        put(store, "q")
        store.export(tmp_path / "a.jsonl")
    value = json.loads((tmp_path / "a.jsonl").read_text())
    assert set(value) & {"cost", "reasoning", "logprobs", "reasoning_tokens"} == set()
    with RationaleStore(tmp_path / "b.sqlite") as store:
        assert store.import_(tmp_path / "a.jsonl")["added"] == 1


def test_merging_brings_answers_and_attempts_once(tmp_path: Path) -> None:
    answers = full(tmp_path / "a.sqlite")
    with RationaleStore(tmp_path / "a.sqlite") as store:
        store.lease("e" * 64, run="r")
    with RationaleStore(tmp_path / "b.sqlite") as store:
        put(store, "q0", "another answer")
        put(store, "other")
        counts = store.merge(tmp_path / "a.sqlite")
        assert (counts["added"], counts["in conflict (kept what is here)"]) == (2, 1)
        assert counts["attempts"] == 5
        assert held(store)[2:] == answers[1:]
        spent = store.spent("r")
        assert (spent.calls, spent.cost) == (5, Decimal("0.000000000001"))
        assert spent.possibly_billed == 1, "what was under way may have been billed"
        again = store.merge(tmp_path / "a.sqlite")
        assert (again["added"], again["attempts"]) == (0, 0)
        assert store.spent("r") == spent
        assert store.verify() == []


def test_difference_names_what_is_not_the_same(tmp_path: Path) -> None:
    with RationaleStore(tmp_path / "a.sqlite") as a, RationaleStore(tmp_path / "b.sqlite") as b:
        both, first = put(a, "both"), put(a, "only a")
        changed, second = put(a, "changed", "x"), put(b, "only b")
        put(b, "both")
        put(b, "changed", "y")
        assert dict((key, what) for what, key in a.difference(b)) == {
            first: "only in the first",
            second: "only in the second",
            changed: "different",
        }
        assert both not in dict((key, what) for what, key in b.difference(a))


def test_compacting_gives_space_back_and_loses_nothing(tmp_path: Path) -> None:
    with RationaleStore(tmp_path / "a.sqlite") as store:
        for number in range(5):
            put(store, f"q{number}", "x" * 100_000)
        for number in range(5):
            put(store, f"q{number}", "short")
        before, after = store.compact()
        assert after < before / 5
        assert len(held(store)) == 5
        put(store, "more")
        assert store.verify() == []


def test_shards_are_a_partition(tmp_path: Path) -> None:
    keys = [completion_key(IDENTITY, request(f"q{number}")) for number in range(300)]
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    sizes = [sum(shard.holds(key) for key in keys) for shard in shards]
    assert sum(sizes) == 300
    assert min(sizes) > 60
    assert all(sum(shard.holds(key) for shard in shards) == 1 for key in keys)
    assert Shard.parse("2/3").store(Path("r/s.sqlite")) == Path("r/s.shard-2-of-3.sqlite")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="1/4"):
        Shard.parse(text)
