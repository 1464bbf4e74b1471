"""Where a model computes: cpu, cuda or mps; in which precision; and what to do without memory."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from fiatkit.errors import EnvironmentProblem, MissingExtraError, SettingsError, did_you_mean

if TYPE_CHECKING:
    import torch

ALLOWED = ("auto", "cpu", "cuda", "cuda:0", "mps")
NAME = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
HALVED = "Lower tuning.max_length, take a smaller model, or close what else uses the memory."
WORDS = ("out of memory", "not enough memory", "can't allocate memory")


def check_name(wanted: str) -> str:
    """The name, if a device can have it. Raises ValueError that says which there are."""
    if not NAME.fullmatch(wanted):
        hint = did_you_mean(wanted, ALLOWED)
        raise ValueError(f'"{wanted}" is no device; allowed: {", ".join(ALLOWED)}. {hint}'.strip())
    return wanted


Device = Annotated[str, AfterValidator(check_name)]


def choose(wanted: str) -> str:
    """The device to compute on.

    Args:
        wanted: "cpu", "cuda", one of several as "cuda:1", "mps", or "auto": cuda, else mps, else
            cpu.

    Raises:
        SettingsError: no device has such a name.
        EnvironmentProblem: this machine, or the torch installed on it, does not have it.
        MissingExtraError: torch is not installed.
    """
    try:
        check_name(wanted)
    except ValueError as error:
        raise SettingsError(f"device: {error}") from None
    there = present()
    if wanted == "auto":
        return there[0].partition(":")[0]
    if wanted not in there and f"{wanted}:0" not in there:
        import torch

        raise EnvironmentProblem(
            f'The device "{wanted}" is not here; this machine has: {", ".join(sorted(there))}.',
            f'Say "device: auto", or install a torch that knows {wanted} (here: '
            f"{torch.__version__}).",
        )
    return wanted


def present() -> list[str]:
    """The devices of this machine that torch can use, the fastest kind first; cpu is last."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "local", "A model in process") from None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [f"cuda:{number}" for number in range(count)]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def precision(device: str) -> torch.dtype:
    """float32, or bfloat16 on a cuda device that computes in it without emulation.

    Args:
        device: "cpu", "cuda", "cuda:0", "mps".
    """
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    with torch.cuda.device(device):
        halves = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if halves else torch.float32


def exact(values: torch.Tensor) -> torch.Tensor:
    """The values in float64; on the CPU where they come from mps, which has no float64."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_cores() -> int:
    """Cores for each of the processes that torchrun started here together."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def is_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)


@contextlib.contextmanager
def memory_told(doing: str, device: str, hint: str) -> Iterator[None]:
    """Turn a memory error inside the block into an EnvironmentProblem that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        raise EnvironmentProblem(
            f'There is no memory left on the device "{device}" while {doing}.', hint
        ) from None


def by_halves(rows: list[int], work: Callable[[list[int]], None], doing: str, device: str) -> None:
    """Do `work` on rows together; where memory runs out, on one half of them after the other.

    Raises:
        EnvironmentProblem: it does not suffice for a single row.
    """
    if len(rows) == 1:
        with memory_told(doing, device, HALVED):
            work(rows)
        return
    try:
        work(rows)
        return
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
    half = len(rows) // 2
    by_halves(rows[:half], work, doing, device)
    by_halves(rows[half:], work, doing, device)
