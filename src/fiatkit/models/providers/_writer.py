"""Writing with a causal transformers model: prompts in, answers out, a batch at a time.

Prompts are padded at the left, so that every row's next token stands at the end. The prefix that
rows share is computed once and kept. The model's own generation settings (penalties, sampling)
are not applied: what decides an answer is in the request, and so in the store's key.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fiatkit.errors import ModelFileError
from fiatkit.models._chat import PLAIN, scaffold, template_of, tokens_of
from fiatkit.models._devices import is_memory
from fiatkit.models._literal import Literal
from fiatkit.models.local import is_encoder_decoder
from fiatkit.records import Finish, Message, Request, Sampling

if TYPE_CHECKING:
    import torch

WORTH_KEEPING = 16
SENTINEL = "\n"
PROBE = Request((), Sampling(max_tokens=1))


@dataclass(slots=True)
class Row:
    """One answer under way."""

    ids: tuple[int, ...]
    request: Request
    choices: tuple[tuple[int, ...], ...] = ()
    written: list[int] = field(default_factory=list)
    text: str = ""
    finish: Finish | None = None
    cached: int = 0
    random: torch.Generator | None = None


class Writer:
    """A loaded model with its tokenizer.

    Attributes:
        context: most tokens of prompt and answer together.
        stops: ids that end an answer.
    """

    def __init__(self, model: Any, tokenizer: Any, context: int) -> None:
        if is_encoder_decoder(model.config):
            raise ModelFileError(
                f'"{type(model).__name__}" is an encoder-decoder; a large model must be a decoder.',
                "Take a causal model for large.model; an encoder-decoder can be the small model.",
            )
        self.model = model
        self.tokenizer = tokenizer
        self.device = model.get_input_embeddings().weight.device
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = min(context, int(most)) if most else context
        self.literal = Literal(tokenizer)
        self._template = template_of(tokenizer) or PLAIN
        self._tokens = tokens_of(tokenizer)
        self._bos = self._first_ids()
        self._prefixes_blank = self._blank_is_prefixed()
        self.stops = self._stops()
        self._known = set(inspect.signature(model.forward).parameters)
        self._last: tuple[int, ...] = ()
        self._warm: tuple[tuple[int, ...], Any] = ((), None)
        self.together = self._pads_harmlessly()

    # -- text to ids -----------------------------------------------------------------------------

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt's tokens: control tokens in the scaffolding only, never in content."""
        ids: list[int] = []
        for text, is_scaffold in scaffold(self._template, messages, tokens=self._tokens):
            ids += self._piece(text, is_scaffold, continues=bool(ids))
        found = tuple(ids)
        return found if found[: len(self._bos)] == self._bos else (*self._bos, *found)

    def _piece(self, text: str, is_scaffold: bool, *, continues: bool) -> tuple[int, ...]:
        """Ids of one piece. Tokenizers that put a blank before every text put none inside one."""
        tokenize = self._special if is_scaffold else self.literal
        if continues and self._prefixes_blank:
            before, whole = tokenize(SENTINEL), tokenize(SENTINEL + text)
            if whole[: len(before)] == before:
                return whole[len(before) :]
        return tokenize(text)

    def _special(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _first_ids(self) -> tuple[int, ...]:
        """What the tokenizer puts before a text: the begin token, where there is one."""
        ends = self.tokenizer.eos_token_id
        found = tuple(self.tokenizer("", add_special_tokens=True)["input_ids"])
        return tuple(i for i in found if i != ends or i == self.tokenizer.bos_token_id)[:1]

    def _blank_is_prefixed(self) -> bool:
        first = self.literal("x")[:1]
        return bool(first) and str(self.tokenizer.convert_ids_to_tokens(first[0])).startswith("▁")

    def _stops(self) -> frozenset[int]:
        """The ends that model, tokenizer and chat template know."""
        found: set[Any] = set()
        settings = getattr(self.model, "generation_config", None)
        for value in (
            self.tokenizer.eos_token_id,
            getattr(settings, "eos_token_id", None),
            self.model.config.get_text_config().eos_token_id,
        ):
            found |= set(value) if isinstance(value, list | tuple) else {value}
        if self._template != PLAIN:
            talk = [Message("user", "u"), Message("assistant", "a")]
            pieces = scaffold(
                self._template, talk, tokens=self._tokens, add_generation_prompt=False
            )
            ending = pieces[pieces.index(("a", False)) + 1 :]
            closing = self._special("".join(text for text, _ in ending))
            found |= set([i for i in closing if i in self.literal.control][:1])
        return frozenset(i for i in found if isinstance(i, int))

    # -- batches ---------------------------------------------------------------------------------

    def row(self, request: Request) -> Row:
        """A request as a row to write. Its prompt may be too long; the caller looks."""
        import torch

        row = Row(self.prompt_ids(request.messages), request)
        row.choices = tuple(self._piece(c, False, continues=True) for c in request.choices)
        if request.sampling.temperature > 0:
            row.random = torch.Generator().manual_seed(request.sampling.seed + request.sample)
        return row

    def write(self, rows: Sequence[Row]) -> None:
        """Write the answers of `rows`, together where memory and architecture allow it.

        Raises:
            RuntimeError: the memory does not even suffice for a single row.
        """
        if len(rows) > 1 and not self.together:
            for row in rows:
                self.write([row])
            return
        import torch

        try:
            with torch.inference_mode():
                self._write(rows)
            return
        except (MemoryError, RuntimeError) as error:
            if len(rows) == 1 or not is_memory(error):
                raise
        self._warm = ((), None)
        for row in rows:
            row.written, row.text, row.finish = [], "", None
            if row.random is not None:
                row.random.manual_seed(row.request.sampling.seed + row.request.sample)
        self.write(rows[: len(rows) // 2])
        self.write(rows[len(rows) // 2 :])

    def _write(self, rows: Sequence[Row]) -> None:
        import torch

        logits, cache, mask, ends = self._read(rows)
        while True:
            chosen = [
                0 if row.finish else self._next(row, line)
                for row, line in zip(rows, logits.float().cpu(), strict=True)
            ]
            if all(row.finish for row in rows):
                return
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            ids = torch.tensor(chosen, device=self.device)[:, None]
            logits = self._forward(ids, mask, ends[:, None], cache)
            ends = ends + 1

    def _next(self, row: Row, logits: torch.Tensor) -> int:
        """Choose a row's next token, and end the row where that token ends it."""
        if bool(logits.isnan().any()):
            row.finish = "error"
            return 0
        token = _choose(row, logits, self.stops)
        sampling = row.request.sampling
        if token in self.stops:
            row.finish = "stop"
        else:
            row.written.append(token)
            ended = self._ended_by_text(row)
            if ended or (not row.finish and len(row.written) >= sampling.max_tokens):
                row.finish = "stop" if ended else "length"
        if row.finish and row.choices:
            row.text = self._choice(row)
        elif row.finish and not row.text:
            row.text = self._text(row)
        return token

    def _ended_by_text(self, row: Row) -> bool:
        """Whether a stop string, or a choice that nothing can follow, is complete."""
        if row.choices:
            written = tuple(row.written)
            longer = any(c[: len(written)] == written and c != written for c in row.choices)
            return written in row.choices and not longer
        for stop in row.request.sampling.stop:
            before, found, _ = self._text(row).partition(stop)
            if found:
                row.text = before
                return True
        return False

    def _choice(self, row: Row) -> str:
        """The choice that was written, as the request spells it."""
        written = tuple(row.written)
        if written in row.choices:
            return row.request.choices[row.choices.index(written)]
        return self._text(row)

    def _text(self, row: Row) -> str:
        return str(
            self.tokenizer.decode(
                row.written, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    # -- the model -------------------------------------------------------------------------------

    def _read(self, rows: Sequence[Row]) -> tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor]:
        """Compute the prompts.

        Returns:
            Logits after each prompt [n, vocabulary]; the cache; its mask [n, columns]; and the
            position of the next token [n].
        """
        import torch

        known, cache = self._prefix(rows)
        rests = [row.ids[known:] for row in rows]
        width = max(map(len, rests))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.ones((len(rows), known + width), dtype=torch.long)
        for line, rest in enumerate(rests):
            rows[line].cached = known
            ids[line, width - len(rest) :] = torch.tensor(rest)
            mask[line, known : known + width - len(rest)] = 0
        ids, mask = ids.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, known:]
        if cache is not None and len(rows) > 1:
            cache.batch_repeat_interleave(len(rows))
        cache = _new_cache(self.model) if cache is None else cache
        return self._forward(ids, mask, positions, cache), cache, mask, positions[:, -1] + 1

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Logits after the last column [n, vocabulary]; `cache` grows."""
        inputs = {"position_ids": positions, "logits_to_keep": 1}
        inputs = {name: value for name, value in inputs.items() if name in self._known}
        output = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **inputs
        )
        found: torch.Tensor = output.logits[:, -1]
        return found

    def _prefix(self, rows: Sequence[Row]) -> tuple[int, Any]:
        """How many first tokens of all rows are computed already, and a copy of their cache.

        What is kept is what the last batch and this one share. Between a shared prefix and rests
        of unequal length stands padding, which a sliding window would count; with such layers
        only single rows, which need no padding, use it.
        """
        import torch

        if len(rows) > 1 and not _is_plain(_new_cache(self.model)):
            return 0, None
        prompts = [row.ids for row in rows]
        shared = _shared([*prompts, self._last] if self._last else prompts)
        shared = min(shared, min(map(len, prompts)) - 1)
        if not self._last and len(rows) == 1:
            shared = 0
        self._last = prompts[-1]
        known, cache = self._warm
        fits = bool(known) and all(
            p[: len(known)] == known and len(p) > len(known) for p in prompts
        )
        if not fits or 2 * len(known) < shared:
            if shared < WORTH_KEEPING:
                return 0, None
            known, cache = prompts[0][:shared], _new_cache(self.model)
            ids = torch.tensor([known], device=self.device)
            places = torch.arange(len(known), device=self.device)[None]
            self._forward(ids, torch.ones_like(ids), places, cache)
            self._warm = (known, cache)
        return len(known), copy.deepcopy(cache)

    def _pads_harmlessly(self) -> bool:
        """Whether this architecture gives a row the same logits beside a longer one as alone."""
        import torch

        ids = [i for i in range(3, 14) if i < self.model.config.get_text_config().vocab_size]
        short, long = (Row(tuple(ids[:count]), PROBE) for count in (3, len(ids)))
        try:
            with torch.inference_mode():
                both, cache, mask, ends = self._read([short, long])
                alone, cache_alone, mask_alone, ends_alone = self._read([short])
                mask, mask_alone = (
                    torch.cat([m, torch.ones_like(m[:, :1])], dim=1) for m in (mask, mask_alone)
                )
                step = torch.tensor([[5], [5]], device=self.device)
                after = self._forward(step, mask, ends[:, None], cache)
                after_alone = self._forward(step[:1], mask_alone, ends_alone[:, None], cache_alone)
        except (ValueError, TypeError, AttributeError, IndexError):
            return False
        finally:
            self._last, self._warm = (), ((), None)
        pairs = ((both[0], alone[0]), (after[0], after_alone[0]))
        return all(torch.allclose(a, b, atol=2e-2 * float(b.abs().max()) + 1e-6) for a, b in pairs)


def _choose(row: Row, logits: torch.Tensor, stops: frozenset[int]) -> int:
    """The next token: the likeliest allowed one, or one drawn by temperature and top_p."""
    import torch

    if row.choices:
        allowed = _allowed(row, stops)
        kept = torch.full_like(logits, -torch.inf)
        kept[allowed] = logits[allowed]
        logits = kept
    sampling = row.request.sampling
    if row.random is None:
        return int(logits.argmax())
    shares = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        falling, order = shares.sort(descending=True)
        before = falling.cumsum(0) - falling
        shares[order[(before >= sampling.top_p) & (before > 0)]] = 0.0
    return int(torch.multinomial(shares, 1, generator=row.random))


def _allowed(row: Row, stops: frozenset[int]) -> list[int]:
    """Tokens that continue a choice; a stop token where one is complete."""
    written = tuple(row.written)
    length = len(written)
    going = [c for c in row.choices if c[:length] == written]
    allowed = {c[length] for c in going if len(c) > length}
    return sorted(allowed | (stops if written in going else set()))


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Length of the longest common prefix."""
    low, high = min(prompts), max(prompts)
    for index, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return index
    return min(len(low), len(high))


def _new_cache(model: Any) -> Any:
    import transformers

    return transformers.DynamicCache(config=model.config)


def _is_plain(cache: Any) -> bool:
    """Whether every layer attends to everything before it."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)
