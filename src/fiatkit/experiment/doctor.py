"""Look at everything that a run needs, before anything is spent."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fiatkit.config import RunConfig
from fiatkit.errors import FiatError
from fiatkit.experiment.estimate import estimate
from fiatkit.experiment.folder import distinct_groups
from fiatkit.experiment.plan import Plan, make_plan
from fiatkit.experiment.tuned import serving
from fiatkit.recipes import NAMED, Recipe
from fiatkit.recipes.predictor import small_prompt
from fiatkit.records import Example, Rationale


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: "ok", worth a "note", or a "problem" that stops the run."""

    kind: Literal["ok", "note", "problem"]
    text: str


def examine(config: RunConfig) -> list[Finding]:
    """Check settings, data, models, disk and lengths. Nothing is sent to the large model."""
    try:
        plan = make_plan(config)
    except FiatError as error:
        return [Finding("problem", str(error))]
    found = list(_data(plan))
    for check in (_large, _disk, _lengths):
        try:
            found += check(plan)
        except FiatError as error:
            found.append(Finding("problem", str(error)))
    if not any(finding.kind == "problem" for finding in found):
        found.append(Finding("ok", estimate(plan).sentence()))
    return found


def _data(plan: Plan) -> Iterator[Finding]:
    for name in ("train", "dev", "test"):
        rows: tuple[Example, ...] = getattr(plan.data, name)
        languages = Counter(row.query.language for row in rows)
        told = f"{name}: {len(rows)} rows in {distinct_groups(rows)} groups"
        if plan.task.language:
            told += f", {len(languages)} languages"
        yield Finding("ok" if rows else "note", told)
    for note in plan.data.notes:
        yield Finding("note", note)
    if plan.task.choices:
        counts = Counter(row.target for row in plan.data.train)
        told = ", ".join(f"{label} {counts[label]}" for label in plan.task.choices)
        missing = any(counts[label] == 0 for label in plan.task.choices)
        yield Finding("note" if missing else "ok", f"training labels: {told}")


def _large(plan: Plan) -> Iterator[Finding]:
    if not plan.config.needs_large():
        yield Finding("ok", "no recipe of this run calls the large model")
        return
    values = plan.config.large.values_for_provider()
    from fiatkit.models import catalogue, create_chat_model

    needed = {"llama_cpp": "xllamacpp", "transformers": "transformers"}
    if values["provider"] in needed:
        yield _package(needed[values["provider"]], "local")
        name = str(values.get("model"))
        if name in catalogue.names() and not catalogue.is_cached(name):
            yield Finding("note", f'large model "{name}" is not here yet: fiat models get {name}')
            return
    model = create_chat_model(values)
    yield Finding("ok", f"large model: {model.identity.provider} {model.identity.model}")


def _package(name: str, extra: str) -> Finding:
    if importlib.util.find_spec(name):
        return Finding("ok", f"package {name} is installed")
    return Finding("problem", f'package {name} is missing: pip install "fiatkit[{extra}]"')


def _disk(plan: Plan) -> Iterator[Finding]:
    place = plan.out
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        yield Finding("problem", f'"{place}" cannot be written; choose a folder with --out')
    free = shutil.disk_usage(place).free
    cells = [cell for part in plan.parts for cell in part.cells]
    tuned = sum(1 for cell in cells if not cell.is_floor and NAMED[cell.recipe].tune)
    full = sum(1 for cell in cells if cell.recipe == "finetune")
    need = 30e6 * (tuned - full) + 1.2e9 * full + 20e3 * len(plan.queries_for_large())
    kind: Literal["ok", "problem"] = "ok" if free > need else "problem"
    yield Finding(kind, f"disk: {free / 1e9:.1f} GB free, about {need / 1e9:.2f} GB needed")


def _lengths(plan: Plan) -> Iterator[Finding]:
    """Tokens of what the small model will read, and what would be cut or skipped."""
    tuned = [NAMED[name] for name in plan.config.recipes if NAMED[name].tune]
    if not tuned:
        return
    yield _package("torch", "local")
    from fiatkit.models import catalogue
    from fiatkit.models.local import SmallModel

    name = plan.config.small.model
    if name in catalogue.names() and not catalogue.is_cached(name):
        yield Finding("note", f'small model "{name}" is not here yet: fiat models get {name}')
        return
    small = SmallModel.load(name, device=plan.config.small.device)
    yield Finding("ok", f"small model: {name}, context {small.context} tokens")
    limit = plan.config.tuning.max_length
    for told in dict.fromkeys(serving(recipe, plan.config.tuning) for recipe in tuned):
        if told:
            yield Finding("note", told)
    for recipe in tuned:
        yield _length(plan, recipe, small, limit)


def _length(plan: Plan, recipe: Recipe, small: object, limit: int) -> Finding:
    from fiatkit.models.local import SmallModel

    assert isinstance(small, SmallModel)
    budget = "x " * plan.task.reasoning.max_tokens if recipe.needs_rationales else ""
    pretend = Rationale("", budget, None, "ok", "")
    rows = [*plan.data.train[: max(plan.config.sizes)], *plan.data.dev, *plan.data.test]
    lengths, cut, long = [], 0, []
    for row in rows:
        prompt = small_prompt(plan.task, recipe, row.query, pretend)
        target = len(small.encode_target(row.target))
        encoded = small.encode(prompt, max_length=limit, reserve=target)
        lengths.append(len(encoded.ids))
        cut += encoded.cut > 0
        long += [row.id] if encoded.too_long else []
    lengths.sort()
    told = f"{recipe.name}: prompts of {lengths[len(lengths) // 2]} tokens (median), "
    told += f"{lengths[-1]} at most; limit {limit}"
    if cut:
        told += f"; a rationale of full length would be cut in {cut} rows"
    if long:
        told += f"; {len(long)} rows are too long and would be skipped: {', '.join(long[:5])}"
    return Finding("note" if cut or long else "ok", told)
