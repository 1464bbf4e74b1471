"""How an encoder-decoder model computes (T5, mT5): the encoder reads the prompt, the decoder
writes the answer behind its start token."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.errors import ModelFileError
from fiatkit.models._causal import Caching
from fiatkit.models._padding import lengths_of, pad, real
from fiatkit.models._scoring import padded_batches, score_branches

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]


class EncoderDecoder:
    """An encoder-decoder model of transformers. Has the same methods as `Causal`.

    Attributes:
        gap: what stands between a prompt without template and its answer: they never touch.
        caching: answers grow beside their prompts, each in its own columns.
    """

    gap = ""
    caching = Caching()

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device: torch.device = model.get_input_embeddings().weight.device
        start = getattr(model.config, "decoder_start_token_id", None)
        if start is None:
            raise ModelFileError(
                f'The config of "{type(model).__name__}" has no decoder_start_token_id.',
                "Add it to the model's config.json; T5's is its pad token, 0.",
            )
        self._start = int(start)

    @staticmethod
    def frame(tokenizer: Any) -> tuple[Ids, Ids]:
        """Ids before and after a prompt without template, as the tokenizer itself puts them."""
        bare = tuple(tokenizer("x", add_special_tokens=False)["input_ids"])
        whole = tuple(tokenizer("x", add_special_tokens=True)["input_ids"])
        at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), None)
        return ((), ()) if at is None else (whole[:at], whole[at + len(bare) :])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the head to chosen hidden states [n, width]; returns [n, vocabulary]."""
        if getattr(self.model.config, "scale_decoder_outputs", False):  # the first T5
            hidden = hidden * self.model.model_dim**-0.5
        found: torch.Tensor = self.model.get_output_embeddings()(hidden)
        return found

    def own_logits(self, prompt: Ids, target: Ids) -> torch.Tensor:
        """What the whole model says of each token of `target`: [tokens, vocabulary]."""
        import torch

        ids = torch.tensor([prompt], device=self.device)
        begun = torch.tensor([[self._start, *target[:-1]]], device=self.device)
        found: torch.Tensor = self.model(input_ids=ids, decoder_input_ids=begun).logits[0]
        return found

    @staticmethod
    def batches(rows: Sequence[Ids], tokens: int, extra: int = 0) -> Iterator[list[int]]:
        """Indices in batches of like length, each at most `tokens` with its padding."""
        return padded_batches(rows, tokens, extra)

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
        encoded, mask = self._encode([prompt for prompt, _ in rows])
        begun = pad([(self._start, *target[:-1]) for _, target in rows]).to(self.device)
        found: torch.Tensor = self.model.get_decoder()(
            input_ids=begun,
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        return found[real(lengths_of([target for _, target in rows], self.device), begun.shape[1])]

    def read(self, prompts: Sequence[Ids]) -> EncoderDecoderReading:
        """Encode prompts and start their answers."""
        import torch

        encoded, mask = self._encode(prompts)
        reading = EncoderDecoderReading(self.model, encoded, mask)
        start = torch.full((len(prompts), 1), self._start, device=self.device)
        reading.last = reading.extend(start)[:, -1]
        return reading

    def _encode(self, prompts: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's states [n, longest, width] and their mask [n, longest]."""
        ids = pad(prompts).to(self.device)
        mask = real(lengths_of(prompts, self.device), ids.shape[1]).long()
        encoder = self.model.get_encoder()
        return encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask


class EncoderDecoderReading:
    """Prompts that were read, and answers that grow beside them.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    last: torch.Tensor

    def __init__(self, model: Any, encoded: torch.Tensor, mask: torch.Tensor) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        self._model = model
        self._encoded = encoded
        self._mask = mask
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def beside(self, count: int) -> EncoderDecoderReading:
        """The same with `count` answers to each prompt, side by side; this one stays as it is."""
        found = copy.copy(self)
        found._cache = copy.deepcopy(self._cache)
        found._cache.batch_repeat_interleave(count)
        found._encoded = self._encoded.repeat_interleave(count, dim=0)
        found._mask = self._mask.repeat_interleave(count, dim=0)
        return found

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, k] to the answers; returns their hidden states [n, k, width]."""
        found: torch.Tensor = self._model.get_decoder()(
            input_ids=ids,
            encoder_hidden_states=self._encoded,
            encoder_attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return found
