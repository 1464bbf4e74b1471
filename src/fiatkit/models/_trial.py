"""What a model is asked at loading, on a few short rows: which ways of computing rows together
give what its own forward gives each row alone. Nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.errors import FiatError, ModelFileError
from fiatkit.models._causal import Caching, Causal
from fiatkit.models._devices import exact, is_memory
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models._scoring import branch_states
from fiatkit.models._seq2seq import EncoderDecoder

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
Pair = tuple[Ids, Ids]
ANOTHER = "Use another small model."
ROUNDING = 0.15  # in half precision; another way to compute moves a state by more of its size
EXACT = 1e-2


def caching(network: Causal | EncoderDecoder, stop: int) -> Caching:
    """What the model's cache is good for: the most that gives the model's own scores.

    Raises:
        ModelFileError: training rows, or answers in every way that is known here, are otherwise
            than the model's own forward has them, or cannot be computed.
    """
    import torch

    name = type(network.model).__name__
    word = _words(network.model)
    prompts = [word(*range(3, 12)), word(*range(2, 12), *range(4, 12))]
    targets = [(*word(5, 6), stop), (*word(7), stop)]
    try:
        with torch.inference_mode():
            own = {(p, t): network.own_logits(p, t).float() for p in prompts for t in targets}
            _check_training(network, own)
            for way in _ways(network):
                if _gives(way, own, prompts, targets):
                    return way.caching
    except FiatError:
        raise
    except Exception as error:  # whatever a model raises at rows that it does not expect
        if is_memory(error):
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelFileError(f'Rows cannot be computed with "{name}" ({told}).', ANOTHER) from None
    raise ModelFileError(f'"{name}" answers a row otherwise among others than alone.', ANOTHER)


def packs(model: Any, rows: Sequence[Pair]) -> bool:
    """Whether packed rows have the states that each has alone, in training too, where a model may
    drop at random, and whether packed answers have the scores."""
    import torch

    if any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules()):
        return False
    plain, packed = Causal(model), PackedCausal(model)
    prompts, targets = ([row[i] for row in rows] for i in (0, 1))
    training = model.training
    try:
        with torch.inference_mode():
            alone = torch.cat([plain.before_targets([row]) for row in rows])
            scores = torch.cat([plain.score([prompt], targets) for prompt in prompts])
            branches = packed.score(prompts, targets)
            model.train()
            together = packed.before_targets(rows)
    except Exception as error:  # CannotPackError, or what a model raises that is not prepared
        if is_memory(error):
            raise
        return False
    finally:
        model.train(training)
    return same(model, together, alone) and bool(torch.allclose(scores, branches, **_near(model)))


def rows_that_begin_alike(model: Any, stop: int) -> list[Pair]:
    """Rows of unequal length, to be packed; some are alike for longer than others are."""
    word = _words(model)
    shared, more = range(3, 15), range(2, 12)
    return [
        (word(*shared, 4, 5), (*word(6, 7), stop)),
        (word(*shared, *more, 9, 3, 3), (*word(6), stop)),
        (word(*shared, *more, 8), (*word(6, 7, 5), stop)),
    ]


def same(model: Any, ours: torch.Tensor, whole: torch.Tensor) -> bool:
    """Whether the states or logits [tokens, width] of a model are the same, but for what the
    order of sums changes in its precision: each token's by its distance from the other one."""
    import torch

    ours, whole = (t.float() - t.float().mean(-1, keepdim=True) for t in (ours, whole))
    most = EXACT if model.dtype == torch.float32 else ROUNDING
    return bool(((ours - whole).norm(dim=-1) <= most * whole.norm(dim=-1)).all())


def _near(model: Any) -> dict[str, float]:
    """How near log-probabilities must be: as `same`."""
    import torch

    if model.dtype == torch.float32:
        return {"atol": 1e-2, "rtol": 1e-3}
    return {"atol": 0.3, "rtol": 3e-2}


def _words(model: Any) -> Callable[..., Ids]:
    """Makes ids of small numbers: of ordinary words, for what a model makes of a row of control
    tokens, which stand at either end of a vocabulary, may change with the last bit of a sum."""
    size = int(model.get_input_embeddings().weight.shape[0])
    first = max(0, min(size // 4, size - 16))
    return lambda *numbers: tuple(first + number for number in numbers)


def _check_training(network: Causal | EncoderDecoder, own: dict[Pair, torch.Tensor]) -> None:
    """Compare the logits of training rows, computed together, with the model's own."""
    import torch

    def agree(rows: Sequence[Pair]) -> bool:
        ours = network.logits(network.before_targets(rows))
        return same(network.model, ours, torch.cat([own[row] for row in rows]))

    if not agree(list(own)):
        told = "does more after its head than fiatkit knows"
        if agree(list(own)[:1]):
            told = "computes a row otherwise among others than alone"
        raise ModelFileError(f'"{type(network.model).__name__}" {told}.', ANOTHER)


def _ways(network: Causal | EncoderDecoder) -> Sequence[Causal | EncoderDecoder]:
    """The ways to answer rows, the fastest first."""
    if isinstance(network, EncoderDecoder):
        return [network]
    kinds = Caching.within_window(network.model.config), Caching(0), Caching(usable=False)
    return [Causal(network.model, kind) for kind in kinds]


def _gives(
    way: Any, own: dict[Pair, torch.Tensor], prompts: Sequence[Ids], targets: Sequence[Ids]
) -> bool:
    """Whether answers have the model's own logits, all as branches and the first as it is written,
    token by token; and the log-probabilities that follow."""
    try:
        return all(
            _batch_gives(way, own, [prompts[index] for index in batch], targets)
            for batch in way.batches(prompts, 1 << 20, extra=sum(map(len, targets)))
        )
    except Exception as error:
        if is_memory(error) or way.caching == Caching(usable=False):
            raise
        return False


def _batch_gives(
    way: Any, own: dict[Pair, torch.Tensor], rows: Sequence[Ids], targets: Sequence[Ids]
) -> bool:
    """The same of prompts that are read together."""
    import torch

    reading, steps = way.read(rows), []
    beside = torch.cat([own[row, target][1:] for row in rows for target in targets])
    if not same(way.model, way.logits(branch_states(reading, len(rows), targets)), beside):
        return False
    last = reading.last
    for token in targets[0]:
        steps.append(way.logits(last))
        last = reading.extend(torch.full((len(rows), 1), token, device=way.device))[:, -1]
    written = torch.stack(steps, dim=1).flatten(0, 1)
    if not same(way.model, written, torch.cat([own[row, targets[0]] for row in rows])):
        return False
    wanted = torch.stack([_log_probability(own[row, t], t) for row in rows for t in targets])
    scores = way.score(rows, targets).flatten().to(wanted)
    return bool(torch.allclose(scores, wanted, **_near(way.model)))


def _log_probability(logits: torch.Tensor, target: Ids) -> torch.Tensor:
    """Summed log-probability of a target whose tokens have these logits [tokens, vocabulary]."""
    import torch

    logs = torch.log_softmax(exact(logits), dim=-1)
    return logs[torch.arange(len(target)), torch.tensor(target)].sum()
