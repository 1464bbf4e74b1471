"""How a model computes behind trained embeddings (prompt tuning): they are read first, before
every prompt, and predict nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.models._causal import Caching, Causal, CausalReading, WholeReading
from fiatkit.models._padding import lengths_of, pad, real
from fiatkit.models._scoring import Reading
from fiatkit.models._seq2seq import EncoderDecoder

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]


class PromptedCausal(Causal):
    """A decoder model behind the virtual tokens of a peft model.

    They stand before the first token of each row, so that no position of the row looks different
    from what peft's own forward computes; their own outputs are dropped.
    """

    def __init__(self, wrapped: Any, caching: Caching = Caching()) -> None:
        super().__init__(wrapped.get_base_model(), caching)
        self._wrapped = wrapped

    def batches(self, rows: Sequence[Ids], tokens: int, extra: int = 0) -> Iterator[list[int]]:
        """As `Causal.batches`; where answers grow, the virtual tokens are columns too."""
        return super().batches(rows, tokens, extra and extra + virtual_tokens(self._wrapped))

    def hidden(self, **inputs: Any) -> Any:
        """Run the model's body; where nothing is cached yet, behind the virtual tokens."""
        if inputs.get("past_key_values") is not None:
            return super().hidden(**inputs)
        embedded = behind(self._wrapped, inputs.pop("input_ids"))
        output = super().hidden(inputs_embeds=embedded, **inputs)
        output.last_hidden_state = output.last_hidden_state[:, virtual_tokens(self._wrapped) :]
        return output

    def read(self, prompts: Sequence[Ids]) -> Reading:
        """Compute prompts, padded at the right; the cache holds the virtual tokens too."""
        import torch

        if not self.caching.usable:
            return WholeReading(self, prompts)
        lengths = lengths_of(prompts, self.device)
        output = self.hidden(input_ids=pad(prompts).to(self.device), use_cache=True)
        last = output.last_hidden_state[torch.arange(len(prompts)), lengths - 1]
        places = lengths + virtual_tokens(self._wrapped)
        return CausalReading(self, places, last, output.past_key_values)


class PromptedEncoderDecoder(EncoderDecoder):
    """An encoder-decoder whose encoder reads the virtual tokens of a peft model first."""

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped.get_base_model())
        self._wrapped = wrapped

    def _encode(self, prompts: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = pad(prompts).to(self.device)
        extra = virtual_tokens(self._wrapped)
        mask = real(lengths_of(prompts, self.device) + extra, ids.shape[1] + extra).long()
        embedded = behind(self._wrapped, ids)
        found: torch.Tensor = self.model.get_encoder()(
            inputs_embeds=embedded, attention_mask=mask
        ).last_hidden_state
        return found, mask


def virtual_tokens(wrapped: Any) -> int:
    """How many virtual tokens stand before a prompt."""
    return int(wrapped.active_peft_config.num_virtual_tokens)


def behind(wrapped: Any, ids: torch.Tensor) -> torch.Tensor:
    """Embeddings of ids [n, k] behind the virtual tokens: [n, virtual + k, width]."""
    import torch

    words = wrapped.get_base_model().get_input_embeddings()(ids)
    return torch.cat([wrapped.get_prompt(len(ids)).to(words.dtype), words], dim=1)


def is_prompted(model: Any) -> bool:
    """Whether peft has put virtual tokens before this model."""
    config = getattr(model, "active_peft_config", None)
    return bool(getattr(config, "is_prompt_learning", False))
