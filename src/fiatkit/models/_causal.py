"""How a decoder model computes: prompt and answer are one row, and no position looks right."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fiatkit.models._padding import lengths_of, pad, real
from fiatkit.models._scoring import Reading, padded_batches, score_branches

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
WINDOW = re.compile(r"window(_size|_len)?$|^local_attention|^attention_chunk_size$")


@dataclass(frozen=True, slots=True)
class Caching:
    """What a model's cache of prompts that were read is good for.

    Attributes:
        widest: most columns, answers included, of unequal prompts that are read together. A
            sliding window counts the padding behind the shorter ones, and the state of a
            recurrent layer has read it. None: any number.
        usable: False computes prompts and answers anew with each new token.
    """

    widest: int | None = None
    usable: bool = True

    @classmethod
    def within_window(cls, config: Any) -> Caching:
        """Unequal prompts together up to the narrowest window that a config names."""
        values = vars(config.get_text_config())
        found = [v for name, v in values.items() if WINDOW.search(name) and type(v) is int]
        return cls(min((window for window in found if window > 0), default=None))


class Causal:
    """A decoder model of transformers. Has the same methods as `EncoderDecoder`.

    Attributes:
        gap: what stands between a prompt without template and its answer.
    """

    gap = " "

    def __init__(self, model: Any, caching: Caching = Caching()) -> None:
        self.model = model
        self.caching = caching
        self.device: torch.device = model.get_input_embeddings().weight.device

    @staticmethod
    def frame(tokenizer: Any) -> tuple[Ids, Ids]:
        """Ids before and after a prompt without template: the begin token, where there is one."""
        ids = tuple(tokenizer("", add_special_tokens=True)["input_ids"])
        return tuple(i for i in ids if i != tokenizer.eos_token_id), ()

    @property
    def body(self) -> Any:
        """The model without its language-model head."""
        return getattr(self.model, self.model.base_model_prefix)

    def hidden(self, **inputs: Any) -> Any:
        """Run the model's body: its output before the language-model head."""
        return self.body(**inputs)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the head to chosen hidden states [n, width]; returns [n, vocabulary]."""
        found: torch.Tensor = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return found if cap is None else (found / cap).tanh() * cap

    def own_logits(self, prompt: Ids, target: Ids) -> torch.Tensor:
        """What the whole model says of each token of `target`: [tokens, vocabulary]."""
        import torch

        ids = torch.tensor([[*prompt, *target[:-1]]], device=self.device)
        found: torch.Tensor = self.model(input_ids=ids).logits[0, len(prompt) - 1 :]
        return found

    def batches(self, rows: Sequence[Ids], tokens: int, extra: int = 0) -> Iterator[list[int]]:
        """Indices in batches of like length, each at most `tokens` with its padding.

        Args:
            rows: token ids.
            tokens: what a batch may hold; a longer row is a batch of its own.
            extra: what is to grow behind each row; behind rows in the wider batches this needs
                equal lengths where the model's cache does (see `Caching`).
        """
        return padded_batches(rows, tokens, extra, self.caching.widest if extra else None)

    def score(self, rows: Sequence[Ids], targets: Sequence[Ids]) -> torch.Tensor:
        """Summed log-probability of each target, stop token included, after each prompt.

        Returns:
            float64 [n, targets].
        """
        return score_branches(self, rows, targets)

    def before_targets(self, rows: Sequence[tuple[Ids, Ids]]) -> torch.Tensor:
        """Hidden states from which each target token of (prompt, target) rows is predicted.

        Returns:
            [target tokens of all rows, width], row after row.
        """
        ids = pad([(*prompt, *target[:-1]) for prompt, target in rows]).to(self.device)
        lines: list[int] = []
        places: list[int] = []
        for index, (prompt, target) in enumerate(rows):
            start = len(prompt) - 1
            lines += [index] * len(target)
            places += range(start, start + len(target))
        found: torch.Tensor = self.hidden(input_ids=ids, use_cache=False).last_hidden_state
        return found[lines, places]

    def read(self, prompts: Sequence[Ids]) -> Reading:
        """Compute prompts, padded at the right, where no position looks."""
        import torch

        if not self.caching.usable:
            return WholeReading(self, prompts)
        lengths = lengths_of(prompts, self.device)
        output = self.hidden(input_ids=pad(prompts).to(self.device), use_cache=True)
        last = output.last_hidden_state[torch.arange(len(prompts)), lengths - 1]
        return CausalReading(self, lengths, last, output.past_key_values)


class CausalReading:
    """Prompts that were read, and answers that grow behind them.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    def __init__(
        self, network: Causal, lengths: torch.Tensor, last: torch.Tensor, cache: Any
    ) -> None:
        self.last = last
        self._network = network
        self._lengths = lengths
        self._cache = cache
        self._width = int(lengths.max())
        self._new = 0

    def beside(self, count: int) -> CausalReading:
        """The same with `count` answers to each prompt, side by side; this one stays as it is."""
        import torch

        cache = copy.deepcopy(self._cache)
        lines = torch.arange(len(self._lengths), device=self._lengths.device)
        cache.reorder_cache(lines.repeat_interleave(count))  # what all kinds of cache have
        lengths = self._lengths.repeat_interleave(count)
        return CausalReading(self._network, lengths, self.last, cache)

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, k] to the answers; returns their hidden states [n, k, width]."""
        import torch

        steps = torch.arange(ids.shape[1], device=ids.device)
        places = (self._lengths + self._new)[:, None] + steps
        self._new += ids.shape[1]
        old = real(self._lengths, self._width)
        mask = torch.cat([old, torch.ones_like(old[:, :1]).expand(-1, self._new)], dim=1).long()
        found: torch.Tensor = self._network.hidden(
            input_ids=ids,
            position_ids=places,
            attention_mask=mask,
            past_key_values=self._cache,
        ).last_hidden_state
        return found


class WholeReading:
    """Prompts and answers that are computed from their first token whenever an answer grows.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    def __init__(self, network: Causal, prompts: Sequence[Ids]) -> None:
        self._network = network
        self._rows = list(prompts)
        self.last = self._ends(1)[:, 0]

    def beside(self, count: int) -> WholeReading:
        """The same with `count` answers to each prompt, side by side; this one stays as it is."""
        found = copy.copy(self)
        found._rows = [row for row in self._rows for _ in range(count)]
        return found

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, k] to the answers; returns their hidden states [n, k, width]."""
        self._rows = [(*row, *new) for row, new in zip(self._rows, ids.tolist(), strict=True)]
        return self._ends(ids.shape[1])

    def _ends(self, count: int) -> torch.Tensor:
        """Hidden states of the last tokens of each row: [n, count, width]."""
        import torch

        device = self._network.device
        states: torch.Tensor = self._network.hidden(
            input_ids=pad(self._rows).to(device), use_cache=False
        ).last_hidden_state
        starts = lengths_of(self._rows, device) - count
        places = starts[:, None] + torch.arange(count, device=device)
        return states[torch.arange(len(states), device=device)[:, None], places]
