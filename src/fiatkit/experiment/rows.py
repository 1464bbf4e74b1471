"""A few rows as both models will see them: messages for the large one, tokens for the small one.

Nothing is sent. A rationale is shown if the store holds it; if not, the row is shown without.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fiatkit.data.splits import nested_subset
from fiatkit.errors import FiatError
from fiatkit.experiment.estimate import stored
from fiatkit.experiment.plan import Plan
from fiatkit.experiment.runnable import base_of
from fiatkit.prompts import reasoning_messages, target_text
from fiatkit.recipes import Recipe, named
from fiatkit.recipes.predictor import Predictor, drops_rationale, small_prompt, training_pairs
from fiatkit.records import Example, Message, Rationale, SmallPrompt

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

CUT_SHOWN = 20  # tokens
PENDING = 8  # most tokens that are taken together until they make a whole character
Kind = Literal["scaffold", "instruction", "query", "rationale", "cue", "target", "stop"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of one kind, each as text; some only together make a character."""

    kind: Kind
    tokens: int
    texts: tuple[str, ...]

    @property
    def in_loss(self) -> bool:
        """Whether the small model is tuned to write these tokens."""
        return self.kind in ("target", "stop")


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One training row.

    Attributes:
        messages: what the large model reads; empty if no recipe asks it.
        rationale: what it wrote; None if that is not in the store.
        segments: what the small model reads and learns to write; empty if it is not here.
        notes: what was cut, is missing or will be left out, and why.
    """

    id: str
    language: str
    messages: tuple[Message, ...]
    rationale: Rationale | None
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]


def shown_recipe(plan: Plan) -> Recipe | None:
    """The recipe whose small model is shown: one that reads whole rationales if there is one."""
    running = [named(name) for name in plan.config.recipes if name not in plan.not_run]
    recipes = [recipe.tuned_by(plan.config.tuning) for recipe in running]
    tuned = [recipe for recipe in recipes if recipe.tune]
    return min(tuned, key=_interest, default=None)


def _interest(recipe: Recipe) -> tuple[bool, bool, bool]:
    whole = recipe.hint == "whole" and recipe.rationale == "large"
    return not whole, recipe.rationale != "target", recipe.rationale != "none"


def show_rows(plan: Plan, count: int) -> Iterator[ShownRow]:
    """The first `count` training rows, in the order in which sizes take them (seed 0)."""
    rows = nested_subset(plan.data.train, min(count, len(plan.data.train)), 0)
    recipe = shown_recipe(plan)
    known: dict[str, Rationale] = {}
    trouble = ""
    if _asks_large(plan):
        try:
            known = stored(plan, [row.query for row in rows])
        except FiatError as error:
            trouble = f"the store cannot be asked: {' '.join(str(error).split())}"
    small = None
    try:
        small = _small(plan, recipe) if recipe else None
    except FiatError as error:
        trouble = trouble or " ".join(str(error).split())
    for row in rows:
        rationale = known.get(row.id)
        segments, notes = _small_view(plan, recipe, small, row, rationale)
        messages = reasoning_messages(plan.task, row.query) if _asks_large(plan) else ()
        told = (trouble, *notes) if trouble else notes
        yield ShownRow(row.id, row.query.language, messages, rationale, segments, tuple(told))


def _asks_large(plan: Plan) -> bool:
    return any(cell.writer == "large" for cell in plan.cells)


def _small(plan: Plan, recipe: Recipe) -> SmallModel:
    from fiatkit.models.local import SmallModel

    return SmallModel.load(base_of(plan.config, recipe), device=plan.config.small.device)


def _small_view(
    plan: Plan,
    recipe: Recipe | None,
    small: SmallModel | None,
    row: Example,
    rationale: Rationale | None,
) -> tuple[tuple[Segment, ...], list[str]]:
    notes = []
    dropped = recipe is not None and drops_rationale(recipe, row.id, plan.config.seeds[0])
    if dropped:
        rationale = None
        notes.append("read without its rationale, as tuning.rationale_dropout says")
    elif recipe and recipe.reads_rationale and rationale is None:
        notes.append("its rationale is not in the store yet, so the row is shown without one")
    elif recipe and recipe.reads_rationale and rationale and rationale.status != "ok":
        notes.append(f"its rationale {rationale.status}: the row is left out of tuning")
    if recipe is None or small is None:
        return (), notes
    pairs, _ = training_pairs(plan.task, recipe, [row], {row.id: rationale} if rationale else {})
    before = pairs[0].before if pairs else ""
    target = small.encode_target(target_text(plan.task, row.target), before)
    prompt = small_prompt(plan.task, recipe, row.query, rationale, plan.config.truncate)
    limit = plan.config.tuning.max_length
    kept_free = Predictor(plan.task, recipe, small).reserve
    encoded = small.encode(prompt, max_length=limit, reserve=max(kept_free, len(target)))
    most = min(limit, small.context)
    if encoded.cut:
        notes.append(
            f"cut: the last {encoded.cut} tokens of the rationale, since there is room for {most} "
            f"tokens (tuning.max_length {limit}, context {small.context}): "
            f"{_cut_text(small, prompt, encoded.cut)}"
        )
    if encoded.field_cut:
        notes.append(
            f"cut: {encoded.field_cut} tokens of the {plan.config.truncate} of the longest field, "
            f"as truncate says, since there is room for {most} tokens"
        )
    if encoded.too_long:
        notes.append(
            f"too long: {len(encoded.ids) + len(target)} tokens even without its rationale, and "
            f"there is room for {most}; the row is skipped, for fields are only cut by truncate"
        )
    kinds: list[tuple[Any, int]] = [*encoded.spans, ("target", len(target) - 1), ("stop", 1)]
    return tuple(_segments(small.tokenizer, (*encoded.ids, *target), kinds)), notes


def _cut_text(small: SmallModel, prompt: SmallPrompt, cut: int) -> str:
    """The beginning of what was cut."""
    parts = tuple(part for part in prompt.parts if part.kind == "rationale")
    alone = small.encode(SmallPrompt(prompt.query_id, parts), max_length=small.context, reserve=0)
    (_, before), (_, whole), *_ = alone.spans
    lost = alone.ids[before + whole + alone.cut - cut : before + whole]
    shown = "".join(token_texts(small.tokenizer, lost[:CUT_SHOWN])).replace("·", " ")
    return f'"{shown}"' + (" ..." if len(lost) > CUT_SHOWN else "")


def _segments(
    tokenizer: Any, ids: Sequence[int], kinds: Sequence[tuple[Kind, int]]
) -> Iterator[Segment]:
    start = 0
    for kind, count in kinds:
        if count:
            texts = token_texts(tokenizer, ids[start : start + count])
            yield Segment(kind, count, tuple(texts))
        start += count


def token_texts(tokenizer: Any, ids: Sequence[int]) -> Iterator[str]:
    """Each token as text that is safe to print; tokens inside one character come together."""

    def text(some: Sequence[int]) -> str:
        found = tokenizer.decode(
            list(some), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(found)

    before: Sequence[int] = ()  # the tokens just before, without which some drop their blank
    start = 0
    for end in range(1, len(ids) + 1):
        whole = text([*before, *ids[start:end]])
        broken = whole.endswith("\ufffd") and end < len(ids) and end - start < PENDING
        if not broken:
            yield visible(whole[len(text(before)) :])
            before, start = ids[start:end], end


def visible(text: str) -> str:
    """The text with blanks as ·, and what no one can see, or what moves the cursor, escaped."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == " ":
        return "·"
    if unicodedata.category(character)[0] in "CZ":
        return character.encode("unicode_escape").decode("ascii")
    return character
