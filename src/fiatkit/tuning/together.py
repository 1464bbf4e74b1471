"""One tuning by several processes of one machine, as torchrun starts them.

The first process does all that a tuning does. The others compute the gradient of their share of a
step's rows and nothing else: before each step they are given the trained weights, and the sum of
all gradients goes to the first. Order, checkpoints, dev scores, the best epoch and the artefact
are its business alone, and its gradient is that of a single process, added up in another order.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.errors import EnvironmentProblem, UsageError
from fiatkit.models.local import SmallModel
from fiatkit.tuning.gradient import Loss, add_gradient
from fiatkit.tuning.settings import TuningSettings
from fiatkit.tuning.stopping import SIGNALS

if TYPE_CHECKING:
    import torch

    from fiatkit.tuning.tuner import Row

PATIENCE = timedelta(days=30)  # of the others, while rationales are written or dev is scored


def processes() -> int:
    """How many processes torchrun started for this command."""
    told = {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ.get("WORLD_SIZE", "1")) if told else 1


@contextlib.contextmanager
def leading() -> Iterator[bool]:
    """Whether this process is the one that does the work; around all of it.

    For the others the block begins when there is nothing left to do for them.
    """
    if processes() == 1:
        yield True
        return
    import torch.distributed as group

    group.init_process_group("gloo", timeout=PATIENCE)
    try:
        if group.get_rank():
            with contextlib.suppress(EnvironmentProblem):  # of which the first process tells
                _follow()
            yield False
        else:
            yield True
            _tell(None)
    finally:
        group.destroy_process_group()


@dataclass(frozen=True, slots=True)
class Job:
    """What the others need to have the model that is tuned."""

    ref: str
    packs: bool
    settings: TuningSettings
    base_name: str

    def load(self) -> SmallModel:
        """The model with an adapter, whose weights will be given."""
        small = SmallModel.load(self.ref, device="cpu")
        method = registry.get("tuning.methods", self.settings.method)
        small.model = method.attach(small.model, self.settings, self.base_name)
        small.packs = self.packs
        return small


class Team:
    """All processes of one tuning, seen from the first.

    Args:
        small: the model, its adapter attached.
        settings: how it is tuned.

    Raises:
        UsageError: the model is not on the CPU.
    """

    def __init__(self, small: SmallModel, settings: TuningSettings) -> None:
        if small.device.type != "cpu":
            raise UsageError(
                f'Several processes tune on the CPU only; the small model is on "{small.device}".',
                "Start one process, or say `device: cpu`.",
            )
        self._weights = trained(small)
        _tell(Job(small.ref, small.packs, settings, small.identity["name"]))

    def gradient(
        self, small: SmallModel, loss: Loss, rows: Sequence[Row], batch_tokens: int
    ) -> torch.Tensor:
        """As `add_gradient` of all rows of a step; the gradient is that of all processes."""
        tokens = sum(len(row.target) for row in rows)
        _tell((list(rows), tokens))
        _share(self._weights)
        own = add_gradient(small, loss, rows[:: processes()], tokens, batch_tokens)
        return _sum(self._weights, own)


def trained(small: SmallModel) -> list[torch.Tensor]:
    """The weights that are trained."""
    return [weight for weight in small.model.parameters() if weight.requires_grad]


def _follow() -> None:
    """Compute shares of gradients until the first process ends; signals are for it to heed."""
    import torch.distributed as group

    from fiatkit.tuning.tuner import target_loss

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    while (told := _tell(None)) is not None:
        if isinstance(told, Job):
            job, small = told, told.load()
            smoothing, weights = job.settings.label_smoothing, trained(small)
            continue
        rows, tokens = told
        _share(weights)
        mine = rows[group.get_rank() :: processes()]
        small.model.train()
        loss = partial(target_loss, small, smoothing=smoothing)
        own = add_gradient(small, loss, mine, tokens, job.settings.batch_tokens)
        _sum(weights, own)
        for weight in weights:
            weight.grad = None


def _tell(what: Any) -> Any:
    """Hand a value of the first process to all."""
    import torch.distributed as group

    held = [what]
    with _ended_is_told():
        group.broadcast_object_list(held, src=0)
    return held[0]


def _share(weights: Sequence[torch.Tensor]) -> None:
    """Give all processes the first one's weights."""
    import torch
    import torch.distributed as group

    whole = torch.nn.utils.parameters_to_vector(weights).detach()
    with _ended_is_told():
        group.broadcast(whole, src=0)
    if group.get_rank():
        torch.nn.utils.vector_to_parameters(whole, weights)


def _sum(weights: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
    """Sum gradients and loss of all processes for the first; returns its loss."""
    import torch
    import torch.distributed as group

    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    whole = torch.cat([*(grad.flatten() for grad in grads), loss[None]])
    with _ended_is_told():
        group.reduce(whole, dst=0)
    sizes = [*(grad.numel() for grad in grads), 1]
    *summed, total = whole.split(sizes)
    for weight, found in zip(weights, summed, strict=True):
        weight.grad = found.view_as(weight)
    return total[0]


@contextlib.contextmanager
def _ended_is_told() -> Iterator[None]:
    """Say plainly that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"Another process of this tuning has ended: {str(error).splitlines()[0][:200]}",
            "Run the same command again to go on from the last checkpoint.",
        ) from None
