"""Where every random number generator is that a tuning may draw from: to keep and to restore."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def taken() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The generators of python, numpy, torch and each cuda device, as tensors and values."""
    import numpy as np
    import torch

    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        for number, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda:{number}"] = state
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    state = numpy["state"] | {"key": numpy["state"]["key"].tolist()}
    return tensors, {
        "python": [version, list(words), gauss],
        "numpy": numpy | {"state": state},
    }


def restore(tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
    """Put the generators back where they were; a device that is not here is left out."""
    import numpy as np
    import torch

    torch.set_rng_state(tensors["torch"])
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda:{number}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda:{number}"], number)
    version, words, gauss = values["python"]
    random.setstate((version, tuple(words), gauss))
    state = values["numpy"]["state"]
    key = np.array(state["key"], dtype=np.uint32)
    np.random.set_state(values["numpy"] | {"state": state | {"key": key}})
