"""The training loop: loss on the target and its stop token only, best epoch kept.

The head is applied at target positions only, which changes no gradient: no other position is in
the loss. Padding is masked by position, so no pad id can be confused with the stop token.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.errors import NonFiniteLossError, UsageError
from fiatkit.models.local import SmallModel
from fiatkit.records import TrainingPair
from fiatkit.tuning.settings import TuningSettings

if TYPE_CHECKING:
    import torch

ROOM = "tuning.methods"
ROWS_SORTED_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One training row as ids: the prompt, and the target with its stop token."""

    query_id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens that go through the model: all but the last, which is only predicted."""
        return len(self.prompt) + len(self.target) - 1


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What tuning did. `history` has one entry an epoch; the model holds the best epoch."""

    history: tuple[dict[str, Any], ...]
    best_epoch: int
    best_score: float | None
    seconds: float
    tokens: int
    skipped: dict[str, int] = field(default_factory=dict)
    cut: int = 0


def tune(
    small: SmallModel,
    pairs: Sequence[TrainingPair],
    settings: TuningSettings,
    *,
    seed: int,
    dev_score: Callable[[], float | None] | None = None,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> TuningResult:
    """Tune `small` on `pairs`; afterwards it holds the weights of the best epoch.

    Args:
        small: a freshly loaded model.
        pairs: prompts and targets.
        settings: how.
        seed: decides the adapter's first weights and the order of the rows. The same seed on the
            same CPU with the same threads gives the same bytes.
        dev_score: called after each epoch; higher is better. Without it the last epoch is kept.
        on_progress: called with (steps done, steps in all, loss).

    Raises:
        UsageError: no row can be used.
        NonFiniteLossError: the loss or the gradient is not finite; the step was not taken.
    """
    import torch

    rows, skipped, cut = encode_rows(small, pairs, settings.max_length)
    method = registry.get(ROOM, settings.method)
    torch.manual_seed(seed)
    small.model = method.attach(small.model, settings, small.identity["name"])
    began = time.monotonic()
    small.check_packing(_sample(rows))
    run = _Run(small, settings, method, len(rows), on_progress)
    for epoch in range(1, settings.epochs + 1):
        run.epoch(epoch, list(steps(rows, settings.batch_rows, seed, epoch)), dev_score)
        if settings.patience and epoch - run.best_epoch >= settings.patience:
            break
    run.restore_best()
    tokens = sum(row.length for row in rows) * len(run.history)
    seconds = time.monotonic() - began
    return TuningResult(
        tuple(run.history), run.best_epoch, run.best_score, seconds, tokens, skipped, cut
    )


def encode_rows(
    small: SmallModel, pairs: Sequence[TrainingPair], max_length: int
) -> tuple[list[Row], dict[str, int], int]:
    """Tokenise pairs. Rows that are too long are left out and counted, never cut in silence.

    Returns:
        The rows, how many were left out for which reason, and how many had a rationale cut.
    """
    rows: list[Row] = []
    skipped: dict[str, int] = {}
    cut = 0
    for pair in pairs:
        target = small.encode_target(pair.target)
        encoded = small.encode(pair.prompt, max_length=max_length, reserve=len(target))
        if encoded.too_long:
            skipped["too_long"] = skipped.get("too_long", 0) + 1
        else:
            cut += encoded.cut > 0
            rows.append(Row(encoded.query_id, encoded.ids, target))
    if not rows:
        raise UsageError(
            f"None of the {len(pairs)} training rows can be used"
            + (f": all are longer than {max_length} tokens." if pairs else "."),
            "Raise tuning.max_length, or look at the rows with `fiat doctor`.",
        )
    return rows, skipped, cut


def _sample(rows: Sequence[Row]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shortest row, one between, and the longest."""
    order = sorted(rows, key=lambda row: row.length)
    chosen = dict.fromkeys((order[0], order[len(order) // 2], order[-1]))
    return [(row.prompt, row.target) for row in chosen]


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


def target_loss(small: SmallModel, rows: Sequence[Row]) -> torch.Tensor:
    """Summed negative log-likelihood of the rows' targets and stop tokens.

    Args:
        small: the model.
        rows: rows that fit into memory together.

    Returns:
        A scalar tensor; divide by the number of target tokens for the mean.
    """
    import torch

    hidden = small.before_targets([(row.prompt, row.target) for row in rows])
    wanted = [token for row in rows for token in row.target]
    goal = torch.tensor(wanted, device=hidden.device)
    return torch.nn.functional.cross_entropy(small.logits(hidden).float(), goal, reduction="sum")


class _Run:
    """The state of one tuning: optimizer, schedule, history, best epoch."""

    def __init__(
        self,
        small: SmallModel,
        settings: TuningSettings,
        method: ModuleType,
        rows: int,
        told: Callable[[int, int, float], None] | None,
    ) -> None:
        import torch

        self.small, self.settings, self.told = small, settings, told
        self.total = settings.epochs * -(-rows // settings.batch_rows)
        self.done = 0
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_score: float | None = None
        self._best: list[torch.Tensor] = []
        self._weights = [p for p in small.model.parameters() if p.requires_grad]
        rate = settings.learning_rate or method.LEARNING_RATE
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._share)

    def _share(self, step: int) -> float:
        """Share of the learning rate at a step: linear rise, then linear fall to zero."""
        rise = max(1, round(self.settings.warmup * self.total))
        if step < rise:
            return (step + 1) / rise
        return max(0.0, (self.total - step) / max(1, self.total - rise))

    def epoch(
        self,
        number: int,
        batches_of_rows: Sequence[list[Row]],
        dev_score: Callable[[], float | None] | None,
    ) -> None:
        """Take the steps of one epoch, then score dev and keep the weights if they are best."""
        losses = [self._step(rows) for rows in batches_of_rows]
        loss = sum(losses) / len(losses)
        self.small.model.eval()
        score = dev_score() if dev_score else None
        self.history.append({"epoch": number, "loss": loss, "dev_score": score})
        if score is None or self.best_score is None or score > self.best_score:
            self.best_epoch, self.best_score = number, score
            self._best = [weight.detach().clone() for weight in self._weights]

    def _step(self, rows: Sequence[Row]) -> float:
        """One optimizer step over `rows`, in parts that fit; returns the mean loss."""
        import torch

        self.small.model.train()
        tokens = sum(len(row.target) for row in rows)
        total = 0.0
        ids = [(*row.prompt, *row.target[:-1]) for row in rows]
        for part in self.small.network.batches(ids, self.settings.batch_tokens):
            with self.small.fused():
                loss = target_loss(self.small, [rows[index] for index in part]) / tokens
                self._finite(loss.detach(), rows, "loss")
                loss.backward()
            total += float(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.settings.clip)
        self._finite(norm, rows, "gradient")
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.done += 1
        if self.told:
            self.told(self.done, self.total, total)
        return total

    def _finite(self, value: torch.Tensor, rows: Sequence[Row], what: str) -> None:
        if not bool(value.isfinite()):
            self._optimizer.zero_grad(set_to_none=True)
            ids = ", ".join(row.query_id for row in rows)
            raise NonFiniteLossError(
                f"The {what} became {float(value)} at step {self.done + 1}, on the rows {ids}. "
                "The step was not taken.",
                "Look at these rows, or lower tuning.learning_rate.",
            )

    def restore_best(self) -> None:
        """Put the best epoch's weights back."""
        import torch

        with torch.no_grad():
            for weight, best in zip(self._weights, self._best, strict=True):
                weight.copy_(best)
        self.small.model.eval()
