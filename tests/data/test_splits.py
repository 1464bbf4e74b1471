"""Splits: groups whole, subsets nested, overlap refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiatkit.data.splits import check_overlap, nested_subset, split
from fiatkit.errors import DataError, UsageError
from fiatkit.records import Example, Query


def example(number: int, language: str = "", target: str = "a", group: str = "") -> Example:
    query = Query(f"id{number}", {"text": f"text {number}"}, language)
    return Example(query, target, (target,), group or f"g{number}")


rows = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        *[
            st.builds(
                example,
                st.just(i),
                st.sampled_from(["de", "sw"]),
                st.sampled_from(["a", "b"]),
                st.sampled_from(["g1", "g2", ""]),
            )
            for i in range(n)
        ]
    )
)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 5), st.data())
def test_subsets_are_nested(examples: tuple[Example, ...], seed: int, data: st.DataObject) -> None:
    large = data.draw(st.integers(0, len(examples)))
    small = data.draw(st.integers(0, large))
    first, second = nested_subset(examples, small, seed), nested_subset(examples, large, seed)
    assert first == second[:small]
    assert len({e.id for e in second}) == large
    assert nested_subset(examples[::-1], large, seed) == second


def test_a_subset_keeps_the_rates_of_languages_and_labels() -> None:
    examples = [example(i, ["de", "sw", "yo"][i % 3], "a" if i % 5 else "b") for i in range(300)]
    chosen = nested_subset(examples, 60, 3)
    for language in ("de", "sw", "yo"):
        assert 18 <= sum(e.query.language == language for e in chosen) <= 22
    assert 9 <= sum(e.target == "b" for e in chosen) <= 15


def test_too_large_a_subset_is_refused() -> None:
    with pytest.raises(UsageError, match="only 3"):
        nested_subset([example(i) for i in range(3)], 4, 0)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_I21_a_group_never_crosses_splits(examples: tuple[Example, ...]) -> None:
    try:
        parts = split(examples, len(examples) // 5, len(examples) // 4, 0)
    except UsageError:
        return
    groups = [{e.group for e in part} for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert sorted(e.id for part in parts for e in part) == sorted(e.id for e in examples)


def test_I20_overlap_is_refused_by_id_text_and_group() -> None:
    one = example(1)
    same_text = Example(Query("other", {"text": " TEXT  1 "}), "a", ("a",), "g9")
    for other in (one, same_text, example(2, group="g1")):
        with pytest.raises(DataError, match="have the same"):
            check_overlap({"train": [one], "test": [other]})
    check_overlap({"train": [one], "test": [example(2)]})


def test_I20_rows_of_one_text_stay_on_one_side_of_a_split() -> None:
    texts = ["thanks", " Thanks ", "hello", "HELLO"]
    examples = [
        Example(Query(f"id{i}", {"text": texts[i % 4]}), "a", ("a",), f"g{i}") for i in range(40)
    ] + [example(i) for i in range(100, 140)]
    for seed in range(5):
        train, dev, test = split(examples, 10, 20, seed)
        check_overlap({"train": train, "dev": dev, "test": test})
        assert len(train) + len(dev) + len(test) == 80
