"""Where only upper layers are tuned: what rows look like behind the layers below, computed once.

The states of all rows before the first tuned layer are computed in one pass over the frozen layers
and kept in a file without a name, which the system keeps in memory as far as there is room. A step
then runs the upper layers only, on the same layout as ever. A row's states do not depend on what
it is packed with, so that nothing changes but the last digits of sums.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.models._packed import batches, pack
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models._trial import same

if TYPE_CHECKING:
    import torch

    from fiatkit.models.local import SmallModel

Ids = tuple[int, ...]
Pair = tuple[Ids, Ids]


class FrozenStates:
    """The states of rows in front of a model's layer `first`, whose lower layers are frozen.

    Args:
        network: the model.
        rows: (prompt, target) rows; of others nothing is known.
        first: number of the lowest layer that is tuned.
        batch_tokens: what goes through the model at once.

    Raises:
        OSError: there is no room for the file.
        AttributeError: the model has no list of layers.
    """

    def __init__(
        self, network: PackedCausal, rows: Sequence[Pair], first: int, batch_tokens: int
    ) -> None:
        import torch

        self._network, self._first = network, first
        self._layers = network.body.layers
        whole = list(dict.fromkeys((*prompt, *target[:-1]) for prompt, target in rows))
        self._starts: dict[Ids, int] = {}
        total = 0
        for ids in whole:
            self._starts[ids] = total
            total += len(ids)
        weight = network.model.get_input_embeddings().weight
        self._states = _in_a_file(total, weight.shape[1], weight.dtype)
        with torch.no_grad():
            for batch in batches(whole, batch_tokens):
                self._keep([whole[index] for index in batch])

    def _keep(self, rows: Sequence[Ids]) -> None:
        """Compute and keep the states of rows that fit into memory together."""
        packed = pack(rows)
        caught: list[torch.Tensor] = []

        def catch(layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            caught.append(args[0] if args else named["hidden_states"])

        hook = self._layers[self._first].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with _passed(self._layers[self._first :]):
                self._network.states(packed)
        finally:
            hook.remove()
        for index, ids in enumerate(rows):
            start = self._starts[ids]
            found = caught[0][0, packed.places(index)]
            self._states[start : start + len(ids)] = found.to(self._states.device)

    def before_targets(self, rows: Sequence[Pair]) -> torch.Tensor:
        """As `PackedCausal.before_targets`, of rows whose states are kept."""
        import torch

        whole = [(*prompt, *target[:-1]) for prompt, target in rows]
        packed = pack(whole)
        held = torch.empty(len(packed.ids), dtype=torch.long)
        wanted: list[int] = []
        for index, ids in enumerate(whole):
            places, start = packed.places(index), self._starts[ids]
            held[places] = torch.arange(start, start + len(ids))
            wanted += places[-len(rows[index][1]) :]
        states = self._states[held].to(self._network.device)
        with _passed(self._layers[: self._first]):
            return self._network.states(packed, states)[wanted]


@contextlib.contextmanager
def frozen_states(
    small: SmallModel, rows: Sequence[Pair], sample: Sequence[Pair], first: int, batch_tokens: int
) -> Iterator[str]:
    """Within the block, `small` reads rows behind its frozen layers; see `FrozenStates`.

    Args:
        sample: some of the rows, which must have the states that the whole model gives them.

    Yields:
        Why the whole model is computed all the same, or an empty string.
    """
    import torch

    network, problem = small.network, ""
    assert isinstance(network, PackedCausal)
    try:
        kept = FrozenStates(network, rows, first, batch_tokens)
        with torch.no_grad(), small.fused():
            whole, ours = network.before_targets(sample), kept.before_targets(sample)
        if not same(network.model, ours, whole):
            problem = "this architecture does something between its layers"
    except OSError as error:
        problem = f"their results cannot be kept ({error.strerror})"
    except (AttributeError, TypeError, IndexError, RuntimeError) as error:
        problem = f"this architecture does not allow it ({type(error).__name__})"
    small.frozen = None if problem else kept
    try:
        yield problem
    finally:
        small.frozen = None


def _in_a_file(count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor [count, width] whose memory is a file, with all its room on the disk reserved."""
    import torch

    size = count * width * dtype.itemsize
    with tempfile.NamedTemporaryFile(prefix="fiatkit-states-") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        found = torch.from_file(file.name, shared=True, size=count * width, dtype=dtype)
    return found.view(count, width)


@contextlib.contextmanager
def _passed(layers: Sequence[Any]) -> Iterator[None]:
    """Within the block, these layers give back what they are given."""
    for layer in layers:
        layer.forward = _same
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _same(hidden_states: Any, *others: Any, **named: Any) -> Any:
    return hidden_states
