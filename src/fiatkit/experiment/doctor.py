"""Look at everything that a run needs, before anything is spent."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fiatkit.config import RunConfig
from fiatkit.errors import FatalProviderError, FiatError
from fiatkit.experiment import outside, trackers
from fiatkit.experiment.beforehand import pretended, pretended_pairs
from fiatkit.experiment.estimate import estimate, small_weights
from fiatkit.experiment.folder import distinct_groups
from fiatkit.experiment.plan import Plan, lay_out, problems
from fiatkit.experiment.runnable import base_of, why_not
from fiatkit.experiment.tuned import flaws_of, serving
from fiatkit.experiment.usable import method_problems
from fiatkit.models.protocol import NeedsKey
from fiatkit.reasoning import rationale_request
from fiatkit.recipes import Recipe, named
from fiatkit.recipes.predictor import Predictor, small_prompt
from fiatkit.records import Example
from fiatkit.tuning.tuner import encode_rows

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

ADAPTER_BYTES = 30e6
FULL_BYTES = 1.2e9  # of a fully tuned model whose size is not known yet
FEW_ROWS = 5  # of a language in the test rows


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: "ok", worth a "note", or a "problem" that stops the run."""

    kind: Literal["ok", "note", "problem"]
    text: str


def examine(config: RunConfig) -> list[Finding]:
    """Check settings, data, models, disk and lengths; no problem hides another one.

    Nothing is sent to the large model.
    """
    plan, found = _plan(config)
    looks = [] if plan is None else [_data(plan), _disk(plan), _beside(plan)]
    for look in (*looks, _folder(config), _large(config), _small(config, plan)):
        try:
            found += look
        except FiatError as error:
            found.append(Finding("problem", str(error)))
    found = list(dict.fromkeys(found))
    if plan is not None and not any(finding.kind == "problem" for finding in found):
        found.append(Finding("ok", estimate(plan).sentence()))
    return found


def _plan(config: RunConfig) -> tuple[Plan | None, list[Finding]]:
    """The plan without what is wrong, as far as there is one, and what is wrong."""
    found: list[Finding] = []
    without = config.data.model_copy(update={"skip_bad": True})
    for given in (config, config.model_copy(update={"data": without})):
        try:
            plan = lay_out(given)
        except FiatError as error:
            found.append(Finding("problem", str(error)))
            continue
        found += [Finding("problem", str(problem)) for problem in problems(config, plan)]
        return plan, found
    return None, found


def _beside(plan: Plan) -> Iterator[Finding]:
    """Outside systems, and where the run is followed."""
    for problem in outside.problems(plan):
        yield Finding("problem", str(problem))
    trackers.check(plan.config.track)


def _data(plan: Plan) -> Iterator[Finding]:
    for name in ("train", "dev", "test"):
        rows: tuple[Example, ...] = getattr(plan.data, name)
        languages = Counter(row.query.language for row in rows)
        told = f"{name}: {len(rows)} rows in {distinct_groups(rows)} groups"
        if plan.task.language:
            told += f", {len(languages)} languages"
        yield Finding("ok" if rows else "note", told)
        few = [f"{code} {count}" for code, count in languages.items() if count < FEW_ROWS]
        if name == "test" and plan.task.language and len(languages) > 1 and few:
            told = "few test rows for a language, each of which weighs the same in the score: "
            yield Finding("note", told + ", ".join(few))
    for note in plan.notes:
        yield Finding("note", note)
    if plan.task.choices:
        counts = Counter(row.target for row in plan.data.train)
        told = ", ".join(f"{label} {counts[label]}" for label in plan.task.choices)
        missing = any(counts[label] == 0 for label in plan.task.choices)
        yield Finding("note" if missing else "ok", f"training labels: {told}")


def _large(config: RunConfig) -> Iterator[Finding]:
    if not config.needs_large():
        yield Finding("ok", "no recipe of this run calls the large model")
        return
    values = config.large.values_for_provider()
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
    if isinstance(model, NeedsKey):
        try:
            model.check_key()
        except FatalProviderError as error:  # what the store holds can be used without one
            yield Finding("note", str(error))


def _package(name: str, extra: str) -> Finding:
    if importlib.util.find_spec(name):
        return Finding("ok", f"package {name} is installed")
    return Finding("problem", f'package {name} is missing: pip install "fiatkit[{extra}]"')


def _place(config: RunConfig) -> Path:
    """The run folder, or the folder in which it will be made."""
    assert config.out is not None
    place = config.out
    while not place.exists():
        place = place.parent
    return place


def _folder(config: RunConfig) -> Iterator[Finding]:
    place = _place(config)
    if not os.access(place, os.W_OK):
        yield Finding("problem", f'"{place}" cannot be written; choose a folder with --out')


def _disk(plan: Plan) -> Iterator[Finding]:
    free = shutil.disk_usage(_place(plan.config)).free
    cells = [cell for part in plan.parts for cell in part.cells if cell.is_tuned]
    need = 20e3 * len(plan.queries_for("large"))
    for name, count in Counter(cell.recipe for cell in cells).items():
        recipe = named(name).tuned_by(plan.config.tuning)
        size = ADAPTER_BYTES
        if recipe.method == "full":
            weights = small_weights(base_of(plan.config, recipe))
            size = FULL_BYTES if weights is None else 4 * weights
        need += count * size
    kind: Literal["ok", "problem"] = "ok" if free > need else "problem"
    yield Finding(kind, f"disk: {free / 1e9:.1f} GB free, about {need / 1e9:.2f} GB needed")


def _small(config: RunConfig, plan: Plan | None) -> Iterator[Finding]:
    """The small model, tokens of what it will read, and what would be cut or skipped."""
    recipes = dict.fromkeys(map(named, config.recipes))
    used = [
        recipe
        for recipe in recipes
        if (recipe.tune or recipe.writer == "small") and not why_not(config, recipe)
    ]
    if used:
        yield _package("torch", "local")
    for base in dict.fromkeys(recipe.base for recipe in used):
        yield from _base(config, plan, [recipe for recipe in used if recipe.base == base])


def _base(config: RunConfig, plan: Plan | None, used: Sequence[Recipe]) -> Iterator[Finding]:
    """The small model that these recipes tune or have write, and what it will read."""
    from fiatkit.models import catalogue
    from fiatkit.models.local import SmallModel

    name = base_of(config, used[0])
    called = "plain base" if used[0].base == "plain" else "small model"
    if name in catalogue.names() and not catalogue.is_cached(name):
        yield Finding("note", f'{called} "{name}" is not here yet: fiat models get {name}')
        return
    if plan is None:
        catalogue.check_name(name)
        return
    small = SmallModel.load(name, device=config.small.device)
    yield Finding("ok", f"{called}: {name}, context {small.context} tokens")
    yield from _writing(plan, small, [recipe for recipe in used if recipe.writer == "small"])
    tuned = [recipe for recipe in used if recipe.tune]
    for told in dict.fromkeys(serving(recipe, config.tuning) for recipe in tuned):
        if told:
            yield Finding("note", told)
    for problem in method_problems(config, tuned):
        yield Finding("problem", str(problem))
    for recipe in tuned:
        recipe = recipe.tuned_by(config.tuning)
        limit = config.tuning.for_recipe(str(recipe.method), small.context).max_length
        predictor = Predictor(plan.task, recipe, small, max_length=limit, truncate=config.truncate)
        yield _length(plan, predictor)
        yield from _preflight(plan, predictor)


def _writing(plan: Plan, small: SmallModel, writing: Sequence[Recipe]) -> Iterator[Finding]:
    """Whether the prompts with which the small model itself writes fit into its context."""
    queries = plan.queries_for("small") if writing else []
    if not queries:
        return
    from fiatkit.models.providers.transformers import prompt_lengths

    requests = [rationale_request(plan.task, query) for query in queries]
    values = plan.config.writer_values("small")
    lengths, context = prompt_lengths(values, small, [r.messages for r in requests])
    most = context - plan.task.reasoning.max_tokens
    long = sum(length > most for length in lengths)
    of = " and ".join(recipe.name for recipe in writing)
    told = f"the writing prompt of {of} has {max(lengths)} tokens"
    if not long:
        yield Finding("ok", f"{told} at most; the small model reads at most {most}")
        return
    told += f"; the small model reads at most {most} (context {context} less reasoning.max_tokens)"
    told += f"; {long} of {len(lengths)} rows are too long. Fewer or shorter exemplars, or a "
    told += "smaller reasoning.max_tokens, make room"
    yield Finding("problem" if long == len(lengths) else "note", told)


def _preflight(plan: Plan, predictor: Predictor) -> Iterator[Finding]:
    """What `fiat tune` would stop at, or note, in the training rows."""
    small, recipe = predictor.small, predictor.recipe
    pairs = pretended_pairs(predictor, plan.data.train[: max(plan.sizes)])
    rows, _, _ = encode_rows(small, pairs, predictor.max_length, predictor.reserve)
    for flaw in flaws_of(predictor, pairs, rows):
        kind: Literal["note", "problem"] = "problem" if flaw.fatal else "note"
        yield Finding(kind, f"{recipe.name}: {flaw.sentence}")


def _length(plan: Plan, predictor: Predictor) -> Finding:
    recipe, limit, pretend = predictor.recipe, predictor.max_length, pretended(predictor)
    rows = [*plan.data.train[: max(plan.sizes)], *plan.data.dev, *plan.data.test]
    lengths, cut, shortened, long = [], 0, 0, []
    for row in rows:
        prompt = small_prompt(plan.task, recipe, row.query, pretend, predictor.truncate)
        encoded = predictor.read(prompt)
        lengths.append(len(encoded.ids))
        cut += encoded.cut > 0
        shortened += encoded.field_cut > 0
        long += [row.id] if encoded.too_long else []
    lengths.sort()
    told = f"{recipe.name}: prompts of {lengths[len(lengths) // 2]} tokens (median), "
    told += f"{lengths[-1]} at most; limit {limit}"
    if cut:
        told += f"; a rationale of full length would be cut in {cut} rows"
    if shortened:
        told += f"; a field would be cut in {shortened} rows (truncate: {plan.config.truncate})"
    if long:
        told += f"; {len(long)} rows are too long and would be skipped: {', '.join(long[:5])}"
        told += "" if plan.config.truncate else "; truncate: tail (or head, middle) cuts a field"
    return Finding("note" if cut or long else "ok", told)
