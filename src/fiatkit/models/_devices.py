"""Where a model computes: cpu, cuda or mps; in which precision; and what to do without memory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fiatkit.errors import EnvironmentProblem, MissingExtraError, SettingsError, did_you_mean

if TYPE_CHECKING:
    import torch

KNOWN = ("auto", "cpu", "cuda", "mps")
WORDS = ("out of memory", "not enough memory", "can't allocate memory")


def choose(wanted: str) -> str:
    """The device to compute on.

    Args:
        wanted: "cpu", "cuda", "mps", or "auto": cuda, else mps, else cpu.

    Raises:
        SettingsError: there is no device of that name.
        EnvironmentProblem: this machine, or the torch installed on it, does not have it.
        MissingExtraError: torch is not installed.
    """
    if wanted not in KNOWN:
        raise SettingsError(
            f'device: "{wanted}" is none of {", ".join(KNOWN)}.', did_you_mean(wanted, KNOWN)
        )
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "local", "A model in process") from None
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        have = ", ".join(sorted(name for name, found in there.items() if found))
        raise EnvironmentProblem(
            f'The device "{wanted}" is not here; this machine has: {have}.',
            f'Say "device: auto", or install a torch that knows {wanted} (here: '
            f"{torch.__version__}).",
        )
    return wanted


def precision(device: str, *, needs_float32: bool = False) -> torch.dtype:
    """float32, or bfloat16 on a cuda device that computes in it.

    Args:
        device: "cpu", "cuda" or "mps".
        needs_float32: the architecture is known to go wrong in less.
    """
    import torch

    halves = device == "cuda" and not needs_float32 and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if halves else torch.float32


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
