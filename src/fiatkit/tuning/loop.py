"""The training loop: a loss of rows comes in, tuned weights come out; it can stop after any step
and go on as if it had not. What the rows are and how their loss is computed it does not know.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fiatkit.errors import EnvironmentProblem, NonFiniteLossError
from fiatkit.models import is_memory
from fiatkit.models.local import SmallModel
from fiatkit.tuning import randomness
from fiatkit.tuning.checkpoints import Checkpoints, State
from fiatkit.tuning.gradient import Loss, add_gradient, parts
from fiatkit.tuning.settings import TuningSettings
from fiatkit.tuning.stopping import Held, Interrupted
from fiatkit.tuning.together import Team, processes

if TYPE_CHECKING:
    import torch

    from fiatkit.tuning.tuner import Row

HALVINGS = 3  # of what goes through the model at once, before memory is given up on
LEAST_PAUSE = 60.0  # seconds between checkpoints
DEAREST = 0.05  # most share of the time that checkpoints may take


class Loop:
    """One tuning: where it is, what it has seen, the best weights so far.

    Args:
        small: the model, its adapter attached.
        settings: how to tune.
        method: the plug-in of `settings.method`.
        order: the rows of each step of an epoch, given its number from 1; the same ones whenever
            it is called.
        loss: summed loss of the target tokens of rows that fit into memory together.
        checkpoints: where the state is kept; None: nowhere.
    """

    def __init__(
        self,
        small: SmallModel,
        settings: TuningSettings,
        method: ModuleType,
        order: Callable[[int], list[list[Row]]],
        loss: Loss,
        checkpoints: Checkpoints | None,
    ) -> None:
        import torch

        self.small, self.settings, self.order, self.loss = small, settings, order, loss
        self.total = settings.epochs * len(order(1))
        self.losses: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_score: float | None = None
        self.halved: list[dict[str, int]] = []
        self.resumed: list[dict[str, Any]] = []
        self.environment = {
            "device": str(small.device),
            "processes": processes(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        self._checkpoints = checkpoints
        self._team = Team(small, settings) if processes() > 1 else None
        self._held = Held()
        self._began = self._saved_at = time.monotonic()
        self._before, self._cost = 0.0, 0.0
        self._saved_step = (-1, -1)
        self._batch_tokens = settings.batch_tokens
        self._weights = {n: p for n, p in small.model.named_parameters() if p.requires_grad}
        self._best: dict[str, torch.Tensor] = {}
        self._rate = settings.learning_rate or method.LEARNING_RATE
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=self._rate, weight_decay=settings.weight_decay
        )

    @property
    def done(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def seconds(self) -> float:
        """What it took so far, with what was done before a resume."""
        return self._before + time.monotonic() - self._began

    def run(
        self,
        dev_score: Callable[[], float | None] | None,
        told: Callable[[int, int, float], None] | None,
    ) -> None:
        """Take all steps that are left; afterwards the model holds the best epoch's weights."""
        if self._checkpoints is None:
            self._epochs(dev_score, told)
        else:
            self._go_on(self._checkpoints)
            with self._held:
                self._epochs(dev_score, told)
                self._save()
        self._restore_best()

    def _epochs(
        self,
        dev_score: Callable[[], float | None] | None,
        told: Callable[[int, int, float], None] | None,
    ) -> None:
        patience = self.settings.patience or self.settings.epochs
        while (
            len(self.history) < self.settings.epochs
            and len(self.history) - self.best_epoch < patience
        ):
            steps = self.order(len(self.history) + 1)
            before = len(self.history) * len(steps)
            for rows in steps[self.done - before :]:
                self.losses.append(self._step(rows))
                if told:
                    told(self.done, self.total, self.losses[-1])
                self._boundary()
            self._end_epoch(self.losses[before:], dev_score)

    def _end_epoch(
        self, losses: Sequence[float], dev_score: Callable[[], float | None] | None
    ) -> None:
        """Score dev, and keep the weights if they are the best so far."""
        self.small.model.eval()
        try:
            with self._held.at_once():
                score = dev_score() if dev_score else None
        except Interrupted:
            self._save()
            raise
        number = len(self.history) + 1
        self.history.append(
            {"epoch": number, "loss": sum(losses) / len(losses), "dev_score": score}
        )
        if self.best_score is None or (score is not None and score > self.best_score):
            self.best_epoch, self.best_score = number, score
            self._best = {n: weight.detach().clone() for n, weight in self._weights.items()}

    # -- one step --------------------------------------------------------------------------------

    def _share(self, step: int) -> float:
        """Share of the learning rate at a step: linear rise, then linear fall to zero."""
        rise = max(1, round(self.settings.warmup * self.total))
        if step < rise:
            return (step + 1) / rise
        return max(0.0, (self.total - step) / max(1, self.total - rise))

    def _step(self, rows: Sequence[Row]) -> float:
        """One optimizer step over `rows`; returns the mean loss of a target token."""
        import torch

        self.small.model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * self._share(self.done)
        loss = self._gradient(rows)
        self._finite(loss, rows, "loss")
        most = math.inf if self.settings.clip is None else self.settings.clip
        norm = torch.nn.utils.clip_grad_norm_(self._weights.values(), most)
        self._finite(norm, rows, "gradient")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss)

    def _gradient(self, rows: Sequence[Row]) -> torch.Tensor:
        """Gradient of the mean loss over `rows`, in smaller parts if memory runs out."""
        while True:
            try:
                if self._team:
                    return self._team.gradient(self.small, self.loss, rows, self._batch_tokens)
                return self._accumulate(rows)
            except (MemoryError, RuntimeError) as error:
                if self._team or not is_memory(error):
                    raise
            self._halve(rows)

    def _accumulate(self, rows: Sequence[Row]) -> torch.Tensor:
        tokens = sum(len(row.target) for row in rows)
        return add_gradient(self.small, self.loss, rows, tokens, self._batch_tokens)

    def _parts(self, rows: Sequence[Row]) -> list[list[int]]:
        return parts(self.small, rows, self._batch_tokens)

    def _halve(self, rows: Sequence[Row]) -> None:
        """Let half as much through the model at once; a step has the same rows and gradient."""
        import torch

        self._optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(self.halved) == HALVINGS:
            raise EnvironmentProblem(
                f'There is no memory left on the device "{self.small.device}" at step '
                f"{self.done + 1}, with {self._batch_tokens} tokens at once, after {HALVINGS} "
                "halvings.",
                "Lower tuning.max_length or tuning.rank, take a smaller small model, or close "
                "what else uses the memory.",
            )
        wanted = min(2 * len(self._parts(rows)), len(rows))
        while self._batch_tokens > 1 and len(self._parts(rows)) < wanted:
            self._batch_tokens //= 2
        self.halved.append({"step": self.done + 1, "batch_tokens": self._batch_tokens})

    def _finite(self, value: torch.Tensor, rows: Sequence[Row], what: str) -> None:
        if not bool(value.isfinite()):
            self._optimizer.zero_grad(set_to_none=True)
            ids = ", ".join(row.query_id for row in rows)
            raise NonFiniteLossError(
                f"The {what} became {float(value)} at step {self.done + 1}, on the rows {ids}. "
                "The step was not taken.",
                "Look at these rows, or lower tuning.learning_rate.",
            )

    # -- checkpoints -----------------------------------------------------------------------------

    def _boundary(self) -> None:
        """Between two steps: save if it is time, and stop if a signal came."""
        every = self.settings.checkpoint_every
        pause = max(LEAST_PAUSE, self._cost / DEAREST)
        due = self.done % every == 0 if every else time.monotonic() - self._saved_at > pause
        if due or self._held.number:
            self._save()
        if self._held.number:
            raise Interrupted(self._held.number)

    def _save(self) -> None:
        if self._checkpoints is None or self._saved_step == (self.done, len(self.history)):
            return
        began = time.monotonic()
        self._refuse_non_finite()
        self._checkpoints.save(self.done, self._state())
        self._saved_step = (self.done, len(self.history))
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began

    def _refuse_non_finite(self) -> None:
        for name, weight in self._weights.items():
            if not bool(weight.detach().isfinite().all()):
                raise NonFiniteLossError(
                    f'The weight "{name}" is not finite after step {self.done}. Nothing was saved.',
                    "Lower tuning.learning_rate.",
                )

    def _state(self) -> State:
        numbers, words = randomness.taken()
        optimizer = self._optimizer.state_dict()["state"]
        tensors = {
            **{f"weight/{name}": weight for name, weight in self._weights.items()},
            **{f"best/{name}": weight for name, weight in self._best.items()},
            **{
                f"optimizer/{index}/{key}": value
                for index, entries in optimizer.items()
                for key, value in entries.items()
            },
            **{f"random/{name}": value for name, value in numbers.items()},
        }
        values = {
            "losses": self.losses,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "batch_tokens": self._batch_tokens,
            "halved": self.halved,
            "resumed": self.resumed,
            "seconds": self.seconds,
            "environment": self.environment,
            "random": words,
        }
        return State(tensors, values)

    def _go_on(self, checkpoints: Checkpoints) -> None:
        """Take up the newest checkpoint's state, if there is one."""
        import torch

        state = checkpoints.newest()
        if state is None:
            return
        values = state.values
        self.losses, self.history = list(values["losses"]), list(values["history"])
        self.best_epoch, self.best_score = values["best_epoch"], values["best_score"]
        self._batch_tokens, self.halved = values["batch_tokens"], list(values["halved"])
        self._before = values["seconds"]
        with torch.no_grad():
            for name, weight in _under("weight", state.tensors).items():
                self._weights[name].copy_(weight)
        self._best = {
            name: weight.to(self._weights[name].device)
            for name, weight in _under("best", state.tensors).items()
        }
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under("optimizer", state.tensors).items():
            index, key = name.split("/")
            entries.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": entries, "param_groups": groups})
        apart = self._apart(values["environment"])
        if apart:
            checkpoints.say(apart)
        entry = {"step": self.done, "forced": list(checkpoints.forced), "apart": apart}
        self.resumed = [*values["resumed"], entry]
        randomness.restore(_under("random", state.tensors), values["random"])
        self._saved_step = (self.done, len(self.history))

    def _apart(self, before: Mapping[str, Any]) -> str:
        """What another device or number of processes or threads than `before` changes, measured
        where it can be; empty where nothing is other."""
        import torch

        now = self.environment
        if before["device"] != now["device"]:
            return (
                f"begun on {before['device']}, resumed on {now['device']}: sums are taken in "
                "another order there, so that the result may differ in its last digits"
            )
        if before.get("processes", 1) != now["processes"]:
            return (
                f"begun with {before.get('processes', 1)} processes, resumed with "
                f"{now['processes']}: gradients are added up in another order, so that the result "
                "may differ in its last digits"
            )
        if before["threads"] == now["threads"]:
            return ""
        steps = self.order(min(len(self.history) + 1, self.settings.epochs))
        gradients = []
        for threads in (before["threads"], now["threads"]):
            torch.set_num_threads(threads)
            self._accumulate(steps[self.done % len(steps)])
            found = [w.grad.flatten() for w in self._weights.values() if w.grad is not None]
            gradients.append(torch.cat(found))
            self._optimizer.zero_grad(set_to_none=True)
        part = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
        return (
            f"begun with {before['threads']} threads, resumed with {now['threads']}: the gradient "
            f"of the next step differs by {part:.0e} of its size, so that the result may differ "
            "in its last digits"
        )

    def _restore_best(self) -> None:
        """Put the best epoch's weights back."""
        import torch

        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._best[name])
        self.small.model.eval()


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix/`, by the rest of the name."""
    start = len(prefix) + 1
    return {name[start:]: t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
