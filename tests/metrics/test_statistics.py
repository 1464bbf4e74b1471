"""Tests and intervals against scipy, published values, and simulated data of known truth."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from fiatkit import metrics
from fiatkit.errors import DataError
from fiatkit.metrics._interval import estimate, tellable
from fiatkit.metrics._resampling import Groups, resampled
from fiatkit.records import Example, Prediction, Query, ScoredRow

LABELS = ["a", "b"]


def rows(
    right: Sequence[bool], groups: Sequence[int], languages: Sequence[str] | None = None
) -> list[ScoredRow]:
    """A row for each mark: answer "a", which is right, or "b"."""
    return [
        ScoredRow(
            Example(
                Query(f"r{i:05}", {"t": "x"}, languages[i] if languages else ""),
                "a",
                ("a",),
                f"g{groups[i]:05}",
            ),
            Prediction(f"r{i:05}", "a" if mark else "b"),
        )
        for i, mark in enumerate(right)
    ]


def pair(seed: int, n: int, *, each: int = 1, gap: float = 0.0) -> tuple[list[ScoredRow], ...]:
    """Two recipes on n groups of `each` rows that share how hard they are; B is better by `gap`."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.6, 0.2, size=n).repeat(each)
    groups = np.arange(n).repeat(each)
    own = [rng.normal(0, 0.15, size=n).repeat(each) for _ in range(2)]
    return tuple(
        rows(rng.random(n * each) < ease + side + extra, groups)
        for side, extra in zip(own, (0.0, gap), strict=True)
    )


def values(found: Sequence[ScoredRow]) -> np.ndarray:
    return np.array([100.0 * (r.prediction.answer == "a") for r in found])


@pytest.mark.parametrize("seed", range(4))
def test_few_groups_are_permuted_exactly_as_scipy_does(seed: int) -> None:
    a, b = pair(seed, 12)
    ours = metrics.permutation_test("accuracy", a, b, LABELS)
    theirs = stats.permutation_test(
        (values(a), values(b)),
        lambda x, y: x.mean() - y.mean(),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert ours is not None and ours.exact
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_groups_are_swapped_whole_as_scipy_does_with_their_sums() -> None:
    a, b = pair(1, 11, each=4, gap=0.1)
    ours = metrics.permutation_test("accuracy", a, b, LABELS)
    sums = [values(found).reshape(11, 4).sum(axis=1) for found in (a, b)]
    theirs = stats.permutation_test(
        sums, lambda x, y: x.sum() - y.sum(), permutation_type="samples", n_resamples=np.inf
    )
    assert ours is not None and ours.p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_groups_are_permuted_at_random_close_to_scipys_answer() -> None:
    a, b = pair(2, 150, gap=0.1)
    ours = metrics.permutation_test("accuracy", a, b, LABELS)
    theirs = stats.permutation_test(
        (values(a), values(b)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        rng=0,
    )
    assert ours is not None and not ours.exact and ours.permutations == 9999
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.02)
    assert ours == metrics.permutation_test("accuracy", a[::-1], b, LABELS), "rows in any order"


def test_a_metric_that_needs_all_rows_is_recomputed_after_each_swap() -> None:
    """Macro F1 of all 256 swaps, each made by hand."""
    groups = list(range(8))

    def answered(seed: int) -> list[ScoredRow]:
        own = np.random.default_rng(seed)
        return [
            ScoredRow(
                Example(Query(f"r{i}", {}, ""), "ab"[i % 2], ("ab"[i % 2],), f"g{i}"),
                Prediction(
                    f"r{i}", "ab"[int(own.integers(2))] if own.random() < 0.9 else None, "ok"
                ),
            )
            for i in groups
        ]

    a, b = answered(1), answered(5)
    seen = []
    for way in range(2**8):
        swapped = [bool(way >> i & 1) for i in groups]
        mine = [b[i] if swapped[i] else a[i] for i in groups]
        its = [a[i] if swapped[i] else b[i] for i in groups]
        seen.append(
            (metrics.corpus("macro_f1", mine, LABELS) or 0.0)
            - (metrics.corpus("macro_f1", its, LABELS) or 0.0)
        )
    wanted = np.mean([abs(value) >= abs(seen[0]) - 1e-9 for value in seen])
    found = metrics.permutation_test("macro_f1", a, b, LABELS)
    assert found is not None and found.exact
    assert found.p == pytest.approx(float(wanted))


def test_random_swaps_of_such_a_metric_agree_with_the_exact_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fiatkit.metrics import _permutation

    a, b = pair(3, 12, gap=0.2)
    exact = metrics.permutation_test("macro_f1", a, b, LABELS)
    monkeypatch.setattr(_permutation, "EXACT_GROUPS", 3)
    random = metrics.permutation_test("macro_f1", a, b, LABELS, permutations=4000)
    assert exact is not None and random is not None
    assert exact.exact and not random.exact
    assert random.p == pytest.approx(exact.p, abs=0.04)


def test_the_same_answers_have_p_1_and_undefined_scores_no_test() -> None:
    a, _ = pair(0, 30)
    same = metrics.permutation_test("accuracy", a, a, LABELS)
    assert same is not None and same.p == 1
    assert metrics.permutation_test("auc_pr", a, a, ["true", "b"]) is None
    with pytest.raises(DataError, match="cannot be paired"):
        metrics.permutation_test("accuracy", [a, a], [a, a, a], LABELS)


def test_seeds_are_averaged_before_groups_are_swapped() -> None:
    """Two seeds are one recipe: p is that of the mean of both, found by hand from group means."""
    (a, b), (c, d) = pair(0, 10, gap=0.2), pair(7, 10, gap=0.2)
    found = metrics.permutation_test("accuracy", [a, c], [b, d], LABELS)
    means = [(values(x) + values(y)) / 2 for x, y in ((a, c), (b, d))]
    wanted = stats.permutation_test(
        means, lambda x, y: x.mean() - y.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert found is not None and found.p == pytest.approx(wanted.pvalue, abs=1e-12)


@pytest.mark.parametrize("each", [1, 5])
def test_false_positives_are_as_rare_as_promised_with_and_without_groups(each: int) -> None:
    """300 data sets without a difference: p <= 0.05 in 5 % of them, within binomial error."""
    tried = 300
    wrong = 0
    for seed in range(tried):
        a, b = pair(seed, 40, each=each)
        found = metrics.permutation_test("accuracy", a, b, LABELS, permutations=499, seed=seed)
        assert found is not None
        wrong += found.p <= 0.05
    assert wrong <= stats.binom.ppf(0.999, tried, 0.05)
    assert wrong >= stats.binom.ppf(0.001, tried, 0.05) - 6, "discrete: a little rarer is right"


def test_swapping_single_rows_of_a_group_would_be_wrong_too_often() -> None:
    """What the groups are for: as if each row were a group of its own, p is too small."""
    wrong = 0
    for seed in range(200):
        a, b = pair(seed, 20, each=10)
        loose = [
            rows(values(found) > 0, range(len(found)))  # every row its own group
            for found in (a, b)
        ]
        found = metrics.permutation_test("accuracy", *loose, LABELS, permutations=299)
        assert found is not None
        wrong += found.p <= 0.05
    assert wrong > stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize(("groups", "seeds"), [(12, 1), (16, 1), (40, 1), (12, 3), (40, 3)])
def test_intervals_cover_as_promised_with_few_groups_and_seeds(groups: int, seeds: int) -> None:
    """Differences of known mean 0; seeds differ too. The large simulation: benchmarks/coverage.py."""
    tried, covered = 400, 0
    rng = np.random.default_rng(groups + seeds)
    draw = next(resampled(_plain(groups), 400, 0))
    for _ in range(tried):
        of_groups = rng.normal(0, 10, size=(groups, 1))
        of_seeds = rng.normal(0, 2, size=(1, seeds)) if seeds > 1 else np.zeros((1, 1))
        each = of_groups + of_seeds + rng.normal(0, 10, size=(groups, seeds))
        found = estimate(each.mean(axis=0), draw @ each / groups, _plain(groups))
        assert found.low is not None and found.high is not None
        covered += found.low <= 0 <= found.high
    assert covered >= stats.binom.ppf(0.001, tried, 0.93)
    assert covered <= stats.binom.ppf(0.999, tried, 0.97)


def _plain(groups: int) -> Groups:
    return Groups(groups, np.arange(groups), [np.arange(groups)])


def test_the_smallest_difference_that_can_be_told_is_found_in_8_of_10_tries() -> None:
    groups, found, told = 40, 0, []
    rng = np.random.default_rng(0)
    draw = next(resampled(_plain(groups), 400, 0))
    truth = 10 * (stats.t.ppf(0.975, 39) + stats.t.ppf(0.8, 39)) / math.sqrt(groups)
    for _ in range(400):
        each = rng.normal(truth, 10, size=(groups, 1))
        points, table = each.mean(axis=0), draw @ each / groups
        least = tellable(points, table, _plain(groups))
        assert least is not None
        told.append(least)
        found += stats.ttest_1samp(each[:, 0], 0).pvalue <= 0.05
    assert np.median(told) == pytest.approx(truth, rel=0.05)
    assert stats.binom.ppf(0.001, 400, 0.8) <= found <= stats.binom.ppf(0.999, 400, 0.8)


def test_one_group_or_one_in_each_language_gives_no_interval() -> None:
    one = rows([True, False, True], [0, 0, 0])
    score = metrics.evaluate("accuracy", one, LABELS)
    assert score.value is not None and score.low is None and score.high is None
    apart = rows([True, False, True, True], [0, 0, 1, 1], ["sw", "sw", "yo", "yo"])
    assert metrics.evaluate("accuracy", apart, LABELS).low is None
    assert metrics.difference("accuracy", one, one, LABELS) is None


def test_mcnemar_is_the_exact_binomial_test_of_the_rows_that_differ() -> None:
    """25 rows that A alone has right and 10 that B alone has."""
    marks = [(True, False)] * 25 + [(False, True)] * 10 + [(True, True)] * 40
    a, b = (rows([mark[side] for mark in marks], range(75)) for side in (0, 1))
    found = metrics.mcnemar("accuracy", [a], [b])
    by_hand = 2 * sum(math.comb(35, k) for k in range(11)) / 2**35
    assert (found.only_a, found.only_b) == (25, 10)
    assert found.p == pytest.approx(by_hand)
    assert found.p == pytest.approx(stats.binomtest(10, 35).pvalue)


def test_mcnemar_is_refused_with_a_reason_where_it_is_not_legal() -> None:
    a, b = pair(0, 10, each=2)
    assert metrics.mcnemar("accuracy", [a], [b]).p is None
    assert "group" in metrics.mcnemar("accuracy", [a], [b]).reason
    a, b = pair(0, 10)
    assert "seeds" in metrics.mcnemar("accuracy", [a, a], [b, b]).reason
    assert "row by row" in metrics.mcnemar("macro_f1", [a], [b]).reason
    assert metrics.mcnemar("accuracy", [a], [a]).p == 1


def test_holm_as_published_and_without_what_is_undefined() -> None:
    """R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and in any order."""
    assert metrics.holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(
        [0.05, 0.08, 0.09, 0.09, 0.09]
    )
    found = metrics.holm([0.04, None, 0.005, 0.03, 0.01])
    assert found[1] is None
    assert [p for p in found if p is not None] == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert metrics.holm([]) == [] and metrics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_share_has_an_interval_over_groups_and_nothing_among_nothing_has_no_value() -> None:
    marks = np.random.default_rng(0).random(60) < 0.4
    groups = [f"g{i // 5}" for i in range(60)]
    found = metrics.ratio(marks.astype(float).tolist(), [1.0] * 60, groups)
    assert found.value == pytest.approx(100 * marks.mean())
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    assert metrics.ratio([0.0] * 4, [0.0] * 4, ["a", "b", "c", "d"]).value is None
    assert metrics.ratio([], [], []).value is None


def test_no_unpaired_test_is_in_the_package() -> None:
    """A z-test or t-test of two independent samples is the mistake not to make."""
    from pathlib import Path

    import fiatkit

    text = "".join(p.read_text("utf-8") for p in Path(fiatkit.__file__).parent.rglob("*.py"))
    for name in ("proportions_ztest", "ttest_ind", "chi2_contingency", "fisher_exact", "ztest("):
        assert name not in text


def test_several_tests_share_their_swaps_and_are_as_if_made_alone() -> None:
    rng = np.random.default_rng(0)
    few, many = np.zeros(40), rng.normal(0.3, 1, 40)
    few[:6] = [1.0, 2, -1, 3, 2, 4]
    both = metrics.by_signs([few, many], 2000)
    assert both == [metrics.by_signs([each], 2000)[0] for each in (few, many)]
    exact = stats.permutation_test(
        (few[:6],), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert both[0].exact and both[0].permutations == 64
    assert both[0].p == pytest.approx(exact.pvalue)
    assert metrics.by_signs([]) == []


def test_a_score_without_an_exception_is_no_certainty() -> None:
    """20 groups that are all right: the rule of Clopper and Pearson, not 100 to 100."""
    score = metrics.evaluate("accuracy", rows([True] * 40, np.arange(20).repeat(2)), LABELS)
    wanted = stats.binomtest(20, 20).proportion_ci(method="exact").low * 100
    assert (score.value, score.high) == (100, 100)
    assert score.low == pytest.approx(wanted)
    score = metrics.evaluate("accuracy", rows([False] * 20, range(20)), LABELS)
    assert (score.value, score.low) == (0, 0)
    assert score.high == pytest.approx(100 - wanted)
    half = metrics.evaluate("accuracy", rows([True, False] * 20, np.arange(20).repeat(2)), LABELS)
    assert (half.value, half.low, half.high) == pytest.approx((50, wanted / 2, 100 - wanted / 2))
