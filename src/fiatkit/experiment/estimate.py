"""How long a run will take on this machine, roughly, from its matrix-product speed.

The constants below were measured on two x86-64 cores and are ratios to that speed, so they carry
over to other CPUs; on a GPU only calls and tokens are told. A remote large model's time and the
length of its answers are those of its answers in the store, if it has any.

Time is told as a range: from this machine left alone (the fastest of many short probes) to as busy
as it is now (their mean).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, prod
from pathlib import Path
from statistics import median

from fiatkit.experiment.plan import Cell, Plan
from fiatkit.models import cores
from fiatkit.prompts import reasoning_messages
from fiatkit.reasoning.prices import IN_PROCESS, pricing, shown
from fiatkit.recipes import Writer, named
from fiatkit.recipes.predictor import small_prompt
from fiatkit.records import Query, Rationale, Usage

BYTES_PER_WEIGHT = 0.725  # of a Q4_K_M file
PREFILL = 1.1  # llama.cpp's prompt FLOP/s over float32 GEMM FLOP/s
DECODE_BYTES = 20e9  # bytes of weights read a second while decoding, two cores
RATIONALE_TOKENS = 40
USUAL_CONCURRENCY = 8
AT_ONCE = 8  # rows that a small model writes together
TRAIN = 0.45  # share of the GEMM speed that tuning reaches
PREDICT = 0.6
UNSURE = 1.5  # a range's end over its begin, at least
PROBES = 100
PROBE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run has still to do. Seconds are None where they cannot be told beforehand.

    Seconds are those of this machine left alone; now it takes up to `slower` times as long.
    `own_texts` are those that the small model writes before it is tuned, and before it answers.
    `cost` is in US dollars, and `most_cost` the same if every answer were as long as it may be;
    None where no price is known, or where calls cost nothing.
    """

    cells: int
    calls: int
    prompt_tokens: int
    large_seconds: float | None
    small_seconds: float | None
    slower: float
    cost: Decimal | None = None
    most_cost: Decimal | None = None
    own_texts: int = 0

    def sentence(self) -> str:
        """The estimate in words."""
        if not self.cells:
            return "All cells are finished; only the report is drawn."
        told = f"{self.cells} cells to fill; at most {self.calls} calls of the large model"
        if self.calls:
            told += f" (about {self.prompt_tokens:,} prompt tokens, mostly a shared prefix)"
        if self.cost is not None and self.most_cost is not None:
            told += f" for about {shown(self.cost)}, at most {shown(self.most_cost)}"
        if self.own_texts:
            told += f"; {self.own_texts:,} texts by the small model itself, which cost time only"
        both = {"the large model's": self.large_seconds, "tuning": self.small_seconds}
        known = [seconds for seconds in both.values() if seconds is not None]
        if known:
            told += f". This will take about {_range(sum(known), sum(known) * self.slower)} here"
            told += "".join(f", and {name} time" for name, s in both.items() if s is None)
        return told + "."


def _range(least: float, most: float) -> str:
    """Seconds from least to most in words, in minutes or hours."""
    unit, size = ("hour", 3600) if least >= 2 * 3600 else ("minute", 60)
    low, high = (max(1, round(seconds / size)) for seconds in (least, most))
    told = f"{low}" if low == high else f"{low} to {high}"
    return f"{told} {unit}{'' if high == 1 else 's'}"


def estimate(plan: Plan) -> Estimate:
    """Estimate what is left to do. Takes under a second; nothing is loaded or sent."""
    pending = [(part, c) for part in plan.parts for c in part.cells if not part.finished(c)]
    needed = any(cell.writer == "large" for _, cell in pending)
    queries = plan.queries_for("large") if needed else []
    known = stored(plan, queries)
    calls = [query for query in queries if query.id not in known]
    speed, busy = _gemm_speed()
    weights = small_weights(plan.config.small.model)
    own = _own_calls(plan) if any(cell.writer == "small" for _, cell in pending) else []
    first = reasoning_messages(plan.task, plan.data.test[0].query)
    shared = sum(rough_tokens(message.content) for message in first[:-1])
    new = [rough_tokens("".join(query.fields.values())) + 12 for query in calls]
    read = shared * len(calls) + sum(new)
    written = [r.usage.completion_tokens for r in known.values() if r.usage.completion_tokens]
    expected = round(median(written)) if written else RATIONALE_TOKENS
    return Estimate(
        cells=len(pending),
        calls=len(calls),
        prompt_tokens=read,
        large_seconds=_large_seconds(plan, shared + sum(new), len(calls), speed)
        if plan.config.large.provider in IN_PROCESS
        else _remote_seconds(plan, list(known.values()), len(calls)),
        small_seconds=sum(_cell_seconds(part, cell, speed, weights) for part, cell in pending)
        + _own_seconds(own, shared, speed, weights)
        if weights is not None and plan.config.small.device in ("auto", "cpu")
        else None,
        slower=max(UNSURE, busy),
        cost=_cost(plan, len(calls), read, expected),
        most_cost=_cost(plan, len(calls), read, plan.task.reasoning.max_tokens),
        own_texts=len(own) + sum(_written(part, cell) for part, cell in pending),
    )


def _own_calls(plan: Plan) -> list[Query]:
    """For what the small model has still to write as it is before tuning."""
    queries = plan.queries_for("small")
    known = stored(plan, queries, "small")
    return [query for query in queries if query.id not in known]


def _own_seconds(own: Sequence[Query], shared: int, speed: float, weights: float) -> float:
    """Seconds for these texts; what all prompts begin with is read once."""
    if not own:
        return 0.0
    read = shared + sum(rough_tokens("".join(query.fields.values())) + 12 for query in own)
    return read * 2 * weights / (PREDICT * speed) + _writing(len(own), AT_ONCE, speed, weights)


def _written(plan: Plan, cell: Cell) -> int:
    """Texts that a cell's tuned model writes before its answers: of dev in each epoch, of test."""
    if not cell.is_tuned or named(cell.recipe).rationale != "target":
        return 0
    return len(plan.data.dev) * plan.config.tuning.epochs + len(plan.data.test)


def _writing(rows: int, at_once: int, speed: float, weights: float) -> float:
    """Seconds to write a rationale for each row: float32 weights are read once a step."""
    steps = ceil(rows / at_once) * RATIONALE_TOKENS
    products = rows * RATIONALE_TOKENS * 2 * weights / (PREDICT * speed)
    return steps * 4 * weights / DECODE_BYTES + products


def _cost(plan: Plan, calls: int, read: int, written: int) -> Decimal | None:
    """US dollars for calls that read so many tokens together and write so many each; None where
    the price is not known or there is none. Nothing is taken to be cached."""
    from fiatkit.models import create_chat_model

    if not calls or plan.config.large.provider in IN_PROCESS:
        return None
    model = create_chat_model(plan.config.large.values_for_provider())
    price = pricing(model.identity, plan.config.prices)
    each = price(Usage(read // calls, written, 0)) if price else None
    return None if each is None else each * calls


def _remote_seconds(plan: Plan, known: Sequence[Rationale], calls: int) -> float | None:
    """Seconds of a remote large model, by its answers in the store; None if there are none."""
    seconds = [rationale.seconds for rationale in known if rationale.seconds]
    if not calls:
        return 0.0
    if not seconds:
        return None
    settings = plan.config.large.values_for_provider()
    at_once = plan.config.concurrency or int(settings.get("concurrency", USUAL_CONCURRENCY))
    return median(seconds) * calls / at_once


def stored(plan: Plan, queries: list[Query], writer: Writer = "large") -> dict[str, Rationale]:
    """The rationales that the run's store holds, by query id; none if that cannot be told."""
    from fiatkit.models import catalogue, create_chat_model
    from fiatkit.reasoning import stored_rationales

    values = plan.config.writer_values(writer)
    store, name = plan.config.store, str(values.get("model"))
    if not queries or store is None or not store.is_file():
        return {}
    if name in catalogue.names() and not catalogue.is_cached(name):
        return {}
    return stored_rationales(plan.task, create_chat_model(values).identity, store, queries)


def rough_tokens(text: str) -> int:
    """A rough token count: a third of the UTF-8 bytes, at least one."""
    return max(1, len(text.encode()) // 3)


def _large_seconds(plan: Plan, tokens: int, calls: int, speed: float) -> float | None:
    """Seconds of an in-process large model; None for a remote one."""
    from fiatkit.models import catalogue

    if not calls:
        return 0.0
    model = plan.config.large.values_for_provider().get("model")
    if plan.config.large.provider != "llama_cpp" or model is None:
        return None
    size = catalogue.bytes_of(str(model))
    if size is None:
        return None
    weights = size / BYTES_PER_WEIGHT
    return tokens * 2 * weights / (PREFILL * speed) + calls * RATIONALE_TOKENS * size / DECODE_BYTES


def small_weights(model: str) -> float | None:
    """How many weights the small model has, by the headers of its files; None if it is not here."""
    from fiatkit.artefact.weights import read_header
    from fiatkit.models import catalogue

    if model in catalogue.names():
        folder = catalogue.get(model).safetensors if catalogue.is_cached(model) else None
    else:
        folder = Path(model)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    tensors = [tensor for file in files for tensor in read_header(file).values()]
    if not tensors and (size := catalogue.bytes_of(model)):
        return size / BYTES_PER_WEIGHT
    return float(sum(prod(tensor.shape) for tensor in tensors)) or None


def _cell_seconds(plan: Plan, cell: Cell, speed: float, weights: float) -> float:
    """Seconds of tuning and predicting one cell on the CPU."""
    if not cell.is_tuned:
        return 1.0
    recipe = named(cell.recipe).tuned_by(plan.config.tuning)
    pretend = Rationale("", "x" * 3 * RATIONALE_TOKENS, None, "ok", "")

    def tokens(query: Query) -> int:
        return rough_tokens(small_prompt(plan.task, recipe, query, pretend).text)

    train = sum(tokens(e.query) for e in plan.train_rows(cell))
    judged = sum(tokens(e.query) for e in plan.data.dev) * plan.config.tuning.epochs
    judged += sum(tokens(e.query) for e in plan.data.test)
    backward = 3 if recipe.method == "full" else 2
    work = train * plan.config.tuning.epochs * 2 * backward * weights / TRAIN
    writing = _writing(_written(plan, cell), AT_ONCE, speed, weights)
    return float(work + judged * 2 * weights / PREDICT) / speed + writing + 3.0


def _gemm_speed() -> tuple[float, float]:
    """Speed of this machine's float32 matrix product, in FLOP/s, and how many times slower it is
    now, with whatever else is running.

    Probes of milliseconds on one core: the fastest is hardly ever disturbed, even on a busy
    machine, where threads would wait for one another.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    side = 512
    a = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    best, count, began = float("inf"), 0, time.perf_counter()
    with threadpool_limits(1):
        while not count or (count < PROBES and time.perf_counter() < began + PROBE_SECONDS):
            start = time.perf_counter()
            a @ a
            best, count = min(best, time.perf_counter() - start), count + 1
    mean = (time.perf_counter() - began) / count
    return cores() * 2 * side**3 / best, mean / best
