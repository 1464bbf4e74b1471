"""Do the intervals cover, and are false positives as rare as promised? Simulated data, known truth.

    python benchmarks/coverage.py [--sets 1000] [--resamples 1000]

Groups of 1 to 9 rows share how hard they are; recipes answer right or wrong. `plain` are the
percentiles of the resamples, what most programs give. Binomial error of a share of 95 % over 1,000
sets: +-1.4 points (two standard errors).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from fiatkit.metrics import by_signs
from fiatkit.metrics._resampling import Groups
from fiatkit.metrics._scores import _of_difference, _of_score
from fiatkit.report.gain import trends

MOST = 9  # rows in a group


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def one_recipe(
    rng: np.random.Generator, groups: int, seeds: int, apart: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of right answers [groups, seeds] and rows [groups] of one recipe."""
    rows = rng.integers(1, MOST + 1, size=groups)
    ease = level + rng.normal(size=(groups, 1, 1)) + apart * rng.normal(size=(1, 1, seeds))
    right = rng.random((groups, MOST, seeds)) < logistic(ease)
    return (right * (np.arange(MOST) < rows[:, None])[..., None]).sum(axis=1), rows


def two_recipes(
    rng: np.random.Generator, groups: int, seeds: int, apart: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same for the difference of two recipes that are equally good: each is better on some
    groups, and each row is as hard for both."""
    rows = rng.integers(1, MOST + 1, size=groups)
    shared = level + rng.normal(size=(groups, 1, 1)) + rng.normal(size=(groups, MOST, 1))
    taste = 0.7 * rng.normal(size=(groups, 1, 1))
    right = [
        rng.random((groups, MOST, seeds))
        < logistic(shared + side * taste + apart * rng.normal(size=(1, 1, seeds)))
        for side in (1, -1)
    ]
    difference = right[0].astype(float) - right[1]
    return (difference * (np.arange(MOST) < rows[:, None])[..., None]).sum(axis=1), rows


def covered(
    make: Callable[..., tuple[np.ndarray, np.ndarray]],
    truth: float,
    groups: int,
    seeds: int,
    apart: float,
    level: float,
    args: argparse.Namespace,
) -> None:
    """Print the share of sets whose interval holds the truth, plain and ours, and mean widths."""
    rng = np.random.default_rng((groups, seeds, round(10 * apart), round(10 * level)))
    interval = _of_score if make is one_recipe else _of_difference
    all_groups = Groups(groups, np.arange(groups), [np.arange(groups)])
    hits, widths = np.zeros(2), np.zeros(2)
    for _ in range(args.sets):
        sums, rows = make(rng, groups, seeds, apart, level)
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=args.resamples)
        table = 100 * (drawn @ sums) / (drawn @ rows)[:, None]
        points = 100 * sums.sum(axis=0) / rows.sum()
        taken = rng.integers(seeds, size=table.shape)
        plain = np.quantile(np.take_along_axis(table, taken, axis=1).mean(axis=1), [0.025, 0.975])
        ours = interval(points, table, all_groups)
        assert ours.low is not None and ours.high is not None
        for index, (low, high) in enumerate([tuple(plain), (ours.low, ours.high)]):
            hits[index] += low - 1e-9 <= truth <= high + 1e-9
            widths[index] += high - low
    share, width = 100 * hits / args.sets, widths / args.sets
    print(
        f"| {make.__name__} | {level:g} | {groups} | {seeds} | {apart:g} "
        f"| {share[0]:.1f} ({width[0]:.1f}) | {share[1]:.1f} ({width[1]:.1f}) |",
        flush=True,
    )


def intervals(args: argparse.Namespace) -> None:
    """Coverage of intervals, one seed and several."""
    print("| what | level | groups | seeds | seeds apart | plain % (width) | fiatkit % (width) |")
    print("|---|---|---|---|---|---|---|")
    chance = np.random.default_rng(0).normal(size=1_000_000)
    for groups in (12, 16, 40, 200):
        covered(two_recipes, 0.0, groups, 1, 0.0, 1.0, args)
    for level in (1.0, 3.5):
        truth = 100 * float(logistic(level + chance).mean())
        for groups in (12, 16, 40, 200):
            covered(one_recipe, truth, groups, 1, 0.0, level, args)
    for groups in (12, 40):
        for seeds in (2, 3, 5):
            for apart in (0.0, 0.3):
                covered(two_recipes, 0.0, groups, seeds, apart, 1.0, args)


def tests(args: argparse.Namespace) -> None:
    """False positives of the permutation test at 5 %, by groups and, wrongly, by rows."""
    print("\n| groups | false positives by groups % | by rows, wrongly % |\n|---|---|---|")
    for groups in (12, 16, 40, 200):
        rng = np.random.default_rng(groups)
        wrong = np.zeros(2)
        for number in range(args.sets):
            rows = rng.integers(1, MOST + 1, size=groups)
            taste = rng.normal(size=(groups, 1))
            right = [rng.random((groups, MOST)) < logistic(1 + s * taste) for s in (1, -1)]
            there = np.arange(MOST) < rows[:, None]
            each = (right[0].astype(float) - right[1]) * there
            for index, added in enumerate((each.sum(axis=1), each[there])):
                wrong[index] += by_signs([added], 499, number)[0].p <= 0.05
        print(f"| {groups} | {100 * wrong[0] / args.sets:.1f} | {100 * wrong[1] / args.sets:.1f} |")


def gains(args: argparse.Namespace) -> None:
    """False positives of the trend of gains over baselines, where all languages gain the same."""
    print("\n| languages | groups | spread | naive trend % | controlled % |\n|---|---|---|---|---|")
    sets = args.sets // 4
    for languages, groups in ((8, 60), (20, 200)):
        for spread in (0.15, 0.05, 0.0):
            wrong = np.zeros(2)
            for number in range(sets):
                rng = np.random.default_rng(number)
                base = 0.55 + spread * np.linspace(-1, 1, languages)
                ease = rng.normal(0, 0.12, (groups, 1))
                without, with_it = (
                    100.0 * (rng.random((groups, languages)) < np.clip(base + more + ease, 0, 1))
                    for more in (0.0, 0.1)
                )
                share = np.full(groups, 1 / groups)
                drawn = rng.multinomial(groups, share, size=400) / groups
                naive, _, told = trends(
                    without.mean(axis=0),
                    (with_it - without).mean(axis=0),
                    drawn @ without,
                    drawn @ (with_it - without),
                    groups,
                    groups - 1,
                )
                wrong += naive.slope.excludes_zero, told
            shares = 100 * wrong / sets
            print(
                f"| {languages} | {groups} | {spread:g} | {shares[0]:.1f} | {shares[1]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    intervals(given)
    tests(given)
    gains(given)
