"""Tuning: rows are tokenised, a loss is computed on the target and its stop token only.

The head is applied at target positions only, which changes no gradient: no other position is in
the loss. Padding is masked by position, so no pad id can be confused with the stop token.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.errors import UsageError
from fiatkit.models import catalogue
from fiatkit.models._frozen import frozen_states
from fiatkit.models.local import Encoded, SmallModel
from fiatkit.records import TrainingPair
from fiatkit.tuning.checkpoints import Checkpoints
from fiatkit.tuning.loop import Loop
from fiatkit.tuning.loss import row_weights, weighted_nll
from fiatkit.tuning.settings import TuningSettings

if TYPE_CHECKING:
    import torch

ROOM = "tuning.methods"
ROWS_SORTED_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One training row as ids: the prompt, and the target with its stop token, each of whose
    tokens has the row's weight in the loss."""

    query_id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float = 1.0

    @property
    def length(self) -> int:
        """Tokens that go through the model: all but the last, which is only predicted."""
        return len(self.prompt) + len(self.target) - 1


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What tuning did. The model holds the best epoch.

    Attributes:
        history: one entry an epoch.
        losses: the mean loss of a target token, one entry a step.
        seconds: what it took, over all processes if it was resumed.
        tokens: that went through the model.
        skipped: rows that were left out, by reason.
        cut: rows whose rationale was cut.
        recomputed: why layers that are not tuned were computed in every epoch, if they were.
        halved: the steps at which memory ran out, and the tokens at once from there on.
        environment: device, threads and torch that it was computed with.
        resumed: the steps at which a checkpoint was taken up; `forced` lists what differed, and
            `apart` says how far another device or thread count changes the sums.
    """

    history: tuple[dict[str, Any], ...]
    best_epoch: int
    best_score: float | None
    losses: tuple[float, ...]
    seconds: float
    tokens: int
    halved: tuple[dict[str, int], ...] = ()
    resumed: tuple[dict[str, Any], ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    recomputed: str = ""

    def notes(self) -> list[str]:
        """What went otherwise than planned, in words."""
        return [
            *(
                f"memory ran out at step {entry['step']}: {entry['batch_tokens']} tokens at once "
                "from there on; the rows of a step are the same"
                for entry in self.halved
            ),
            *(
                f"resumed by force after step {entry['step']} although these differed: "
                f"{', '.join(entry['forced'])}"
                for entry in self.resumed
                if entry["forced"]
            ),
            *(entry["apart"] for entry in self.resumed if entry["apart"]),
            *(
                [f"layers that are not tuned are computed in every epoch: {self.recomputed}"]
                if self.recomputed
                else []
            ),
        ]


def tune(
    small: SmallModel,
    pairs: Sequence[TrainingPair],
    settings: TuningSettings,
    *,
    seed: int,
    reserve: int = 0,
    dev_score: Callable[[], float | None] | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> TuningResult:
    """Tune `small` on `pairs`; afterwards it holds the weights of the best epoch.

    Args:
        small: a freshly loaded model.
        pairs: prompts and targets.
        settings: how.
        seed: decides the adapter's first weights and the order of the rows. The same seed on the
            same CPU with the same threads gives the same bytes.
        reserve: tokens that prediction keeps free for an answer: training keeps as many, so that
            both cut a rationale at the same place.
        dev_score: called after each epoch; higher is better. Without it, or where it is None after
            every epoch, the last epoch is kept.
        on_progress: called with (steps done, steps in all, loss).
        checkpoints: where the state is kept from time to time, and from where the tuning goes on
            if it was begun before. On the same CPU with the same threads the end is the same,
            byte for byte, as without a stop.

    Raises:
        UsageError: no row can be used.
        CheckpointError: a checkpoint is there, but of another tuning.
        EnvironmentProblem: a checkpoint cannot be saved, or memory does not suffice.
        NonFiniteLossError: the loss or the gradient is not finite; the step was not taken.
    """
    import torch

    rows, skipped, cut = encode_rows(small, pairs, settings.max_length, reserve)
    rows = weighted(rows, pairs, settings)
    if checkpoints is not None:
        checkpoints.about.update(_about(small, rows, settings, seed))
    method = registry.get(ROOM, settings.method)
    torch.manual_seed(seed)
    small.model = method.attach(small.model, settings, small.identity["name"])
    small.check_packing(_sample(rows))
    loop = Loop(
        small,
        settings,
        method,
        lambda epoch: list(steps(rows, settings.batch_rows, seed, epoch)),
        lambda part: target_loss(small, part, settings.label_smoothing),
        checkpoints,
    )
    with _frozen_kept(small, rows, settings) as recomputed:
        loop.run(dev_score, on_progress)
    return TuningResult(
        tuple(loop.history),
        loop.best_epoch,
        loop.best_score,
        tuple(loop.losses),
        loop.seconds,
        sum(row.length for row in rows) * len(loop.history),
        tuple(loop.halved),
        tuple(loop.resumed),
        loop.environment,
        skipped,
        cut,
        recomputed,
    )


@contextlib.contextmanager
def _frozen_kept(small: SmallModel, rows: Sequence[Row], settings: TuningSettings) -> Iterator[str]:
    """Within the block, the layers below those that are tuned are not computed again.

    Yields:
        Why they are all the same; empty where all layers are tuned, or nothing is wrong.
    """
    if settings.top_layers is None or not small.packs:
        yield "" if settings.top_layers is None else "this architecture cannot be packed"
        return
    pairs = [(row.prompt, row.target) for row in rows]
    first = int(small.core.config.get_text_config().num_hidden_layers) - settings.top_layers
    with frozen_states(small, pairs, _sample(rows), first, settings.batch_tokens) as problem:
        yield problem


def _about(
    small: SmallModel, rows: Sequence[Row], settings: TuningSettings, seed: int
) -> dict[str, Any]:
    """All that decides a tuning's bytes on one machine: rows, base model, settings, packages."""
    from importlib.metadata import version

    content = hashlib.sha256()
    for row in rows:
        content.update(repr(row).encode())
    chosen = settings.model_dump(mode="json", exclude={"checkpoint_every"})
    return {
        "rows": content.hexdigest(),
        "base": small.identity["revision"],
        **{f"base/{name}": digest for name, digest in catalogue.file_sums(small.ref).items()},
        "seed": seed,
        **{f"tuning.{key}": value for key, value in chosen.items()},
        **{name: version(name) for name in ("torch", "transformers", "peft")},
    }


def encode_rows(
    small: SmallModel, pairs: Sequence[TrainingPair], max_length: int, reserve: int = 0
) -> tuple[list[Row], dict[str, int], dict[str, int]]:
    """Tokenise pairs. Rows that are too long are left out and counted, never cut in silence.

    Returns:
        The rows, how many were left out for which reason, and of how many what was cut.
    """
    rows: list[Row] = []
    skipped: dict[str, int] = {}
    cut: dict[str, int] = {}
    for pair in pairs:
        encoded, target = encode_pair(small, pair, max_length, reserve)
        if encoded.too_long:
            skipped["too_long"] = skipped.get("too_long", 0) + 1
        else:
            for what in encoded.what_was_cut:
                cut[what] = cut.get(what, 0) + 1
            rows.append(Row(encoded.query_id, encoded.ids, target))
    if not rows:
        raise UsageError(
            f"None of the {len(pairs)} training rows can be used"
            + (f": all are longer than {max_length} tokens." if pairs else "."),
            "Raise tuning.max_length, or look at the rows with `fiat doctor`.",
        )
    return rows, skipped, cut


def encode_pair(
    small: SmallModel, pair: TrainingPair, max_length: int, reserve: int = 0
) -> tuple[Encoded, tuple[int, ...]]:
    """A pair's prompt and all that it is to write, as ids; the prompt says if it is too long."""
    target = small.encode_target(pair.target, pair.before)
    room = max(reserve, len(target))
    return small.encode(pair.prompt, max_length=max_length, reserve=room), target


def _sample(rows: Sequence[Row]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shortest row, one between, and the longest."""
    order = sorted(rows, key=lambda row: row.length)
    chosen = dict.fromkeys((order[0], order[len(order) // 2], order[-1]))
    return [(row.prompt, row.target) for row in chosen]


def weighted(
    rows: Sequence[Row], pairs: Sequence[TrainingPair], settings: TuningSettings
) -> list[Row]:
    """The rows with the weights of their targets (`tuning.class_weights`)."""
    targets = {pair.prompt.query_id: pair.target for pair in pairs}
    weights = row_weights([targets[row.query_id] for row in rows], settings.class_weights)
    return [replace(row, weight=weight) for row, weight in zip(rows, weights, strict=True)]


def steps(rows: Sequence[Row], batch_rows: int, seed: int, epoch: int) -> Iterator[list[Row]]:
    """The rows of each step of an epoch, in an order that follows from (seed, epoch).

    Rows of like length come together, within random pools of a few steps' rows, so that little is
    padded and no epoch repeats another's steps.
    """
    shuffle = random.Random(f"{seed}|{epoch}").shuffle
    order = list(rows)
    shuffle(order)
    pool = batch_rows * ROWS_SORTED_TOGETHER
    found = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda row: row.length)
        found += [part[i : i + batch_rows] for i in range(0, len(part), batch_rows)]
    shuffle(found)
    return iter(found)


def target_loss(small: SmallModel, rows: Sequence[Row], smoothing: float = 0.0) -> torch.Tensor:
    """Summed negative log-likelihood of the rows' targets and stop tokens, each token with its
    row's weight.

    Args:
        small: the model.
        rows: rows that fit into memory together.
        smoothing: see `weighted_nll`.

    Returns:
        A scalar tensor; divide by the number of target tokens for the mean.
    """
    import torch

    hidden = small.before_targets([(row.prompt, row.target) for row in rows])
    wanted = [token for row in rows for token in row.target]
    goal = torch.tensor(wanted, device=hidden.device)
    weights = None
    if any(row.weight != 1.0 for row in rows):
        each = [row.weight for row in rows for _ in row.target]
        weights = torch.tensor(each, device=hidden.device)
    return weighted_nll(small.logits(hidden), goal, weights, smoothing)
