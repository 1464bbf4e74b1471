"""The training rows that a recipe can use, and what stops a tuning before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from fiatkit import metrics, registry
from fiatkit.config import RunConfig
from fiatkit.errors import NoBetterError, UsageError
from fiatkit.experiment.classifiers import predict_majority
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.runnable import base_of
from fiatkit.recipes import Recipe, named
from fiatkit.recipes.predictor import training_pairs
from fiatkit.records import Example, Rationale, ScoredRow, TrainingPair

METHODS = "tuning.methods"


def usable_pairs(
    plan: Plan, cell: Cell, train: Sequence[Example], rationales: Mapping[str, Rationale]
) -> tuple[list[TrainingPair], list[str]]:
    """Render what a cell is tuned on.

    Returns:
        The pairs, and what was left out, in words.

    Raises:
        UsageError: too few rows are left, or a label has none left.
    """
    recipe = named(cell.recipe).tuned_by(plan.config.tuning)
    pairs, left_out = training_pairs(
        plan.task, recipe, train, rationales, cell.seed or 0, plan.config.truncate
    )
    reasons = Counter(left_out.values())
    notes = [f"{count} training rows left out: {why}" for why, count in reasons.items()]
    refuse_too_few(plan, train, {pair.prompt.query_id for pair in pairs}, notes)
    return pairs, notes


def check_methods(config: RunConfig, recipes: Iterable[Recipe]) -> None:
    """Stop at a way to tune that the small model does not allow, before the large model is asked
    anything.

    Raises:
        UsageError: names the first.
    """
    for problem in method_problems(config, recipes):
        raise problem


def method_problems(config: RunConfig, recipes: Iterable[Recipe]) -> Iterator[UsageError]:
    """Why these recipes cannot be tuned as the settings say: each method is tried on the layers of
    its model, without their weights."""
    from fiatkit.models.outline import outline

    tuned = [recipe.tuned_by(config.tuning) for recipe in recipes if recipe.tune]
    for base, method in dict.fromkeys((base_of(config, r), str(r.method)) for r in tuned):
        settings = config.tuning.model_copy(update={"method": method})
        try:
            registry.get(METHODS, method).attach(outline(base), settings, base)
        except UsageError as problem:
            yield problem


def check_size(plan: Plan, train: Sequence[Example]) -> None:
    """Stop at fewer training rows than a step takes, before the large model is asked anything."""
    refuse_too_few(plan, train, {example.id for example in train}, [])


def refuse_too_few(
    plan: Plan, train: Sequence[Example], kept: Collection[str], notes: Sequence[str]
) -> None:
    """Stop where the rows that are left cannot be tuned on.

    Args:
        plan: the run.
        train: the rows that were to be used.
        kept: the ids of those that can be.
        notes: why the others cannot.

    Raises:
        UsageError: none is left, or fewer than a step takes, or a label has none left.
    """
    told = f" ({'; '.join(notes)})" if notes else ""
    least = plan.config.tuning.batch_rows
    if not kept:
        raise UsageError(
            f"None of the {len(train)} training rows can be used{told}.",
            "Look at them with `fiat doctor RUN.yaml --show 3`.",
        )
    if len(kept) < least:
        raise UsageError(
            f"{len(kept)} training rows can be used{told}, fewer than one step takes "
            f"(tuning.batch_rows: {least}).",
            f"Give more rows, or set tuning.batch_rows to at most {len(kept)}.",
        )
    if plan.task.choices:
        before = Counter(example.target for example in train)
        after = {example.target for example in train if example.id in kept}
        if lost := [label for label in before if label not in after]:
            named = ", ".join(f'"{label}" ({before[label]} rows)' for label in lost)
            raise UsageError(
                f"No training row of the label {named} can be used{told}; a model tuned on the "
                "others would never have seen it.",
                "Mend these rows, or raise what cut them off (reasoning.max_tokens, "
                "tuning.max_length).",
            )


def refuse_unwritten(writer: str, rationales: Mapping[str, Rationale]) -> None:
    """Stop before anything is tuned on rationales of which not one was even begun.

    Args:
        writer: the name of the model that was to write them.
        rationales: what became of them.

    Raises:
        UsageError: no text at all came of any; says why.
    """
    if not rationales or any(rationale.text for rationale in rationales.values()):
        return
    reasons = Counter(r.status.removeprefix("failed:") for r in rationales.values())
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    raise UsageError(
        f"{writer} wrote none of the {len(rationales):,} rationales ({why}), so nothing is tuned.",
        "`fiat doctor RUN.yaml` tells what does not fit. Prompts that are too long get shorter "
        "with fewer exemplars or a smaller reasoning.max_tokens.",
    )


def baseline(plan: Plan, train: Sequence[Example]) -> float | None:
    """The dev score of always giving the most frequent training answer; None without dev rows, or
    where the metric does not allow it."""
    dev = plan.data.dev
    if not dev:
        return None
    found = predict_majority(train, [e.query for e in dev], plan.task.choices or [])
    rows = [ScoredRow(e, p) for e, p in zip(dev, found, strict=True)]
    value = metrics.corpus(plan.task.metrics[0], rows, plan.task.choices)
    return None if value is None else float(value)


def no_better(plan: Plan, train: Sequence[Example], score: float | None) -> str:
    """What to say of a tuning whose best dev score is not above the baseline, or nothing."""
    floor = baseline(plan, train)
    if score is None or floor is None or score > floor:
        return ""
    return (
        f"no better than the baseline: dev {plan.task.metrics[0]} {score:.1f}, and "
        f"{floor:.1f} for always giving the most frequent training answer"
    )


def check_dev(plan: Plan) -> None:
    """Refuse to judge tuned models where there are no dev rows.

    Raises:
        UsageError: `require_better` is set, and there are none.
    """
    if plan.require_better and not plan.data.dev:
        raise UsageError(
            "--require-better-than-baseline needs dev rows, and there are none.",
            "Set data.dev_rows or data.dev.",
        )


def refuse_no_better(plan: Plan, told: Mapping[str, str]) -> None:
    """Stop at tuned models that are no better than the baseline, if the plan requires it.

    Args:
        plan: the run.
        told: what `no_better` said, by the model's name.

    Raises:
        NoBetterError: naming each.
    """
    found = [f"{name} is {words}" for name, words in told.items() if words]
    if plan.require_better and found:
        raise NoBetterError(
            "; ".join(found) + ".",
            "Other rows, more epochs or another learning rate may help; without "
            "--require-better-than-baseline it is kept all the same.",
        )
