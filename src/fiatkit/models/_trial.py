"""What a model is asked at loading, on a few short rows: which ways of computing rows together
give what its own forward gives each row alone. Nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.errors import FiatError, ModelFileError
from fiatkit.models._causal import Caching, Causal
from fiatkit.models._devices import exact, is_memory
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models._seq2seq import EncoderDecoder

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
Pair = tuple[Ids, Ids]
ANOTHER = "Use another small model."


def caching(network: Causal | EncoderDecoder, stop: int) -> Caching:
    """What the model's cache is good for: the most that gives the model's own scores.

    Raises:
        ModelFileError: training rows, or answers in every way that is known here, are otherwise
            than the model's own forward has them, or cannot be computed.
    """
    import torch

    name = type(network.model).__name__
    prompts = [tuple(range(3, 12)), (*range(2, 12), *range(4, 12))]
    targets = [(5, 6, stop), (7, stop)]
    try:
        with torch.inference_mode():
            own = {(p, t): network.own_logits(p, t).float() for p in prompts for t in targets}
            _check_training(network, own)
            wanted = torch.stack([_log_probability(own[p, t], t) for p in prompts for t in targets])
            for way in _ways(network):
                if _gives(way, wanted.view(len(prompts), -1), prompts, targets):
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
            alone = torch.cat([plain.before_targets([row]) for row in rows]).float()
            scores = torch.cat([plain.score([prompt], targets) for prompt in prompts])
            branches = packed.score(prompts, targets)
            model.train()
            together = packed.before_targets(rows).float()
    except Exception as error:  # CannotPackError, or what a model raises that is not prepared
        if is_memory(error):
            raise
        return False
    finally:
        model.train(training)
    same: bool = torch.allclose(alone, together, atol=1e-2 * float(alone.abs().max()))
    return same and bool(torch.allclose(scores, branches, atol=0.1, rtol=1e-2))


def rows_that_begin_alike(stop: int) -> list[Pair]:
    """Rows of unequal length, to be packed; some are alike for longer than others are."""
    shared, more = tuple(range(3, 15)), tuple(range(2, 12))
    return [
        ((*shared, 4, 5), (6, 7, stop)),
        ((*shared, *more, 9, 3, 3), (6, stop)),
        ((*shared, *more, 8), (6, 7, 5, stop)),
    ]


def _check_training(network: Causal | EncoderDecoder, own: dict[Pair, torch.Tensor]) -> None:
    """Compare the logits of training rows, computed together, with the model's own."""
    import torch

    def same(rows: Sequence[Pair]) -> bool:
        ours = network.logits(network.before_targets(rows)).float()
        whole = torch.cat([own[row] for row in rows])
        return bool(torch.allclose(whole, ours, atol=1e-2 * float(whole.abs().max())))

    if not same(list(own)):
        told = "does more after its head than fiatkit knows"
        if same(list(own)[:1]):
            told = "computes a row otherwise among others than alone"
        raise ModelFileError(f'"{type(network.model).__name__}" {told}.', ANOTHER)


def _ways(network: Causal | EncoderDecoder) -> Sequence[Causal | EncoderDecoder]:
    """The ways to answer rows, the fastest first."""
    if isinstance(network, EncoderDecoder):
        return [network]
    kinds = Caching.within_window(network.model.config), Caching(0), Caching(usable=False)
    return [Causal(network.model, kind) for kind in kinds]


def _gives(way: Any, wanted: torch.Tensor, prompts: Sequence[Ids], targets: Sequence[Ids]) -> bool:
    """Whether answers have the wanted log-probabilities [prompts, targets], all as branches and
    the first as it is written, token by token."""
    import torch

    found, written = torch.zeros_like(wanted), torch.zeros_like(wanted[:, 0])
    try:
        for batch in way.batches(prompts, 1 << 20, extra=sum(map(len, targets))):
            rows = [prompts[index] for index in batch]
            found[batch] = way.score(rows, targets).to(wanted)
            reading = way.read(rows)
            last, logits = reading.last, []
            for token in targets[0]:
                logits.append(way.logits(last))
                last = reading.extend(torch.full((len(rows), 1), token, device=way.device))[:, -1]
            lines = zip(batch, torch.stack(logits, dim=1), strict=True)
            for index, line in lines:
                written[index] = _log_probability(line, targets[0])
    except Exception as error:
        if is_memory(error) or way.caching == Caching(usable=False):
            raise
        return False
    near = {"atol": 0.1, "rtol": 1e-2}  # in half precision
    if way.model.dtype == torch.float32:
        near = {"atol": 1e-2, "rtol": 1e-3}
    scored: bool = torch.allclose(found, wanted, **near)
    return scored and bool(torch.allclose(written, wanted[:, 0], **near))


def _log_probability(logits: torch.Tensor, target: Ids) -> torch.Tensor:
    """Summed log-probability of a target whose tokens have these logits [tokens, vocabulary]."""
    import torch

    logs = torch.log_softmax(exact(logits), dim=-1)
    return logs[torch.arange(len(target)), torch.tensor(target)].sum()
