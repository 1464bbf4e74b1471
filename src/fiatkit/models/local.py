"""The small model: loading, encoding prompts, scoring label sets, writing answers.

A prompt comes in as parts and is tokenised part by part: the chat template's scaffolding with its
control tokens, everything else as literal text. Only a rationale may be cut, and a field where the
prompt's parts say so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit.errors import EnvironmentProblem, MissingExtraError, ModelFileError
from fiatkit.models import _trial, catalogue
from fiatkit.models._causal import Caching, Causal
from fiatkit.models._chat import scaffold, template_of, tokens_of
from fiatkit.models._devices import by_halves, cores, memory_told, own_cores, precision
from fiatkit.models._devices import choose as choose_device
from fiatkit.models._literal import Literal
from fiatkit.models._lora import fused_lora
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models._prompted import PromptedCausal, PromptedEncoderDecoder, is_prompted
from fiatkit.models._seq2seq import EncoderDecoder
from fiatkit.records import Message, Part, SmallPrompt

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fiatkit.models._frozen import FrozenStates


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as token ids. `cut` rationale tokens were left out, and `field_cut` tokens of a
    field; `too_long`: it still is.

    `spans` says, in order, of which kind how many of the ids are.
    """

    query_id: str
    ids: tuple[int, ...]
    cut: int = 0
    too_long: bool = False
    spans: tuple[tuple[str, int], ...] = ()
    field_cut: int = 0

    @property
    def what_was_cut(self) -> tuple[str, ...]:
        """ "rationale", "field", both or neither."""
        tokens = {"rationale": self.cut, "field": self.field_cut}
        return tuple(name for name, number in tokens.items() if number)


class SmallModel:
    """A model with its tokenizer and template, ready to be tuned or to answer.

    Decoder models read prompt and answer as one row; of an encoder-decoder model (T5, mT5) the
    encoder reads the prompt and the decoder writes the answer.

    Attributes:
        model: the transformers model, wrapped by peft once an adapter is attached.
        identity: `name`, `revision` and `licence`; an adapter fits this model only.
        ref: how it was asked for: a name of the catalogue, a folder, a hub id.
        files: sha256 of each file that it was loaded from.
        frozen: what rows look like behind layers that are not tuned, while it is kept.
        context: most tokens that the model can read.
        stop_id: the token that ends an answer.
        has_template: whether prompts go through a chat template.
        packs: whether rows that begin alike are computed together; not every architecture can.
        caching: what else its cache allows, where rows are padded.
    """

    def __init__(self, model: Any, tokenizer: Any, identity: dict[str, str]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.identity = identity
        self.ref = identity.get("name", "")
        self.files: dict[str, str] = {}
        self.frozen: FrozenStates | None = None
        self._literal = Literal(tokenizer)
        config = model.config  # of a model that reads images too, a part is that of its text
        config = config if is_encoder_decoder(config) else config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", 2048))
        template = template_of(tokenizer)
        self.has_template = template is not None
        self.packs, self.caching = False, Caching()
        self._before, self._after, self.stop_id = self._frame(template)
        self.caching = _trial.caching(self.network, self.stop_id)
        self.packs = self.check_packing(_trial.rows_that_begin_alike(model, self.stop_id))

    @classmethod
    def load(cls, ref: str, *, device: str = "auto") -> SmallModel:
        """Load a model by catalogue name, folder or hub id.

        Args:
            ref: the model.
            device: "cpu", "cuda", "cuda:0", "mps", or "auto" for the best that is there.

        Raises:
            ModelFileError: weights missing, of a refused kind, or of an architecture whose
                answers cannot be scored exactly (see `_trial`).
            EnvironmentProblem: the device is not here, or has too little memory.
        """
        folder, identity = catalogue.resolve_transformers(ref)
        place = choose_device(device)
        files = catalogue.sums_here(ref)
        with memory_told(f'loading the small model "{ref}"', place, "Take a smaller model."):
            model, tokenizer = load_transformers(folder, ref, device=place, threads=own_cores())
        small = cls(model, tokenizer, identity)
        small.ref, small.files = ref, files
        return small

    def refuse_changed_files(self) -> None:
        """Stop where a file that it was loaded from is another one by now.

        Files whose size and time of change are those of before are not read again.

        Raises:
            ModelFileError: names the files.
        """
        now = catalogue.sums_here(self.ref) if self.files else {}
        names = sorted(self.files.keys() | now.keys())
        if odd := [name for name in names if self.files.get(name) != now.get(name)]:
            raise ModelFileError(
                f'The base model "{self.ref}" was changed while it was tuned ({", ".join(odd)}): '
                "what was learnt fits the files of before, which are gone. Nothing was saved.",
                "Put them back and run the same command again: it goes on from the last "
                "checkpoint.",
            )

    # -- text to ids -----------------------------------------------------------------------------

    def _frame(self, template: str | None) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Ids that stand before and after a prompt, and the id that ends an answer."""
        eos = self.tokenizer.eos_token_id
        bos, end = self.network.frame(self.tokenizer)
        if template is None:
            if eos is None:
                raise ModelFileError("The tokenizer has no end-of-text token.")
            return bos, end, int(eos)
        tokens = tokens_of(self.tokenizer)
        user, assistant = Message("user", "u"), Message("assistant", "a")
        pieces = scaffold(template, [user], tokens=tokens)
        where = pieces.index(("u", False))
        before = self._special("".join(text for text, _ in pieces[:where]))
        after = self._special("".join(text for text, _ in pieces[where + 1 :]))
        if bos and before[: len(bos)] != bos:
            before = bos + before
        pair = scaffold(template, [user, assistant], tokens=tokens, add_generation_prompt=False)
        ending = pair[pair.index(("a", False)) + 1 :]
        closing = self._special("".join(text for text, _ in ending))
        special = set(self.tokenizer.all_special_ids)
        stop = next((i for i in closing if i in special), eos)
        if stop is None:
            raise ModelFileError("The chat template ends an answer with no special token.")
        return before, after, int(stop)

    def _special(self, text: str) -> tuple[int, ...]:
        """Ids of scaffolding: control tokens are control tokens."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, prompt: SmallPrompt, *, max_length: int, reserve: int) -> Encoded:
        """Tokenise a prompt. If it would be too long, the rationale is cut from its end, then a
        field where its part says that it may be.

        Args:
            prompt: the parts.
            max_length: most tokens of prompt and answer together; never above the context.
            reserve: tokens kept free for the answer and its stop token.
        """
        room = min(max_length, self.context) - reserve - len(self._before) - len(self._after)
        parts = [(part, self._literal(part.text)) for part in prompt.parts]
        over = sum(len(ids) for _, ids in parts) - room
        rationale = sum(len(ids) for part, ids in parts if part.kind == "rationale")
        cut = max(0, min(over, rationale))
        field_cut = 0
        kept: list[int] = []
        spans: list[tuple[str, int]] = [("scaffold", len(self._before))]
        for part, ids in parts:
            if part.kind == "rationale":
                ids = ids[: len(ids) - cut]
            elif part.cut and over > cut:
                ids, field_cut = self._shortened(part, ids, len(ids) - (over - cut))
            kept += ids
            spans.append((part.kind, len(ids)))
        spans.append(("scaffold", len(self._after)))
        whole = (*self._before, *kept, *self._after)
        return Encoded(prompt.query_id, whole, cut, len(kept) > room, tuple(spans), field_cut)

    def _shortened(
        self, part: Part, ids: tuple[int, ...], most: int
    ) -> tuple[tuple[int, ...], int]:
        """At most `most` ids of a part, and how many are left out of what may be cut of it; as it
        was where that is not enough, for something of a field must remain."""
        assert part.cut is not None
        begin, end = part.cut.begin, part.cut.end
        pieces = part.text[:begin], part.text[begin:end], part.text[end:]
        before, field, after = map(self._literal, pieces)
        room = min(most - len(before) - len(after), len(field))
        if room < 1:
            return ids, 0
        head = {"tail": room, "head": 0, "middle": room - room // 2}[part.cut.side]
        left = (*field[:head], *field[len(field) - (room - head) :])
        return (*before, *left, *after), len(field) - room

    def encode_target(self, text: str, before: str = "") -> tuple[int, ...]:
        """Ids of an answer and its stop token, behind those of what is written before it."""
        return (*self._written(before), *self._answer(text, bool(before)))

    def _written(self, text: str) -> tuple[int, ...]:
        """Ids of what the model writes before its answer, where it reasons itself."""
        gap = "" if self.has_template else self.network.gap
        return self._literal(gap + text) if text else ()

    def _answer(self, text: str, follows: bool) -> tuple[int, ...]:
        """Ids of an answer, behind a prompt or behind a text of the model's own; the stop token."""
        gap = " " if follows else "" if self.has_template else self.network.gap
        return (*self._literal(gap + text), self.stop_id)

    def count_tokens(self, text: str) -> int:
        """How many tokens a text is, by itself and as literal text."""
        return len(self._literal(text))

    # -- ids to scores and texts -----------------------------------------------------------------

    @property
    def core(self) -> Any:
        """The transformers model, whether or not peft has wrapped it."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def network(self) -> Causal | EncoderDecoder:
        """How this kind of model computes."""
        core = self.core
        if is_prompted(self.model):
            if is_encoder_decoder(core.config):
                return PromptedEncoderDecoder(self.model)
            return PromptedCausal(self.model, self.caching)
        if is_encoder_decoder(core.config):
            return EncoderDecoder(core)
        return PackedCausal(core) if self.packs else Causal(core, self.caching)

    @property
    def device(self) -> Any:
        """Where the model's weights are."""
        return self.network.device

    def before_targets(self, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Any:
        """Hidden states from which the targets of (prompt, target) rows are predicted.

        Returns:
            Tensor [target tokens of all rows, width], row after row; `logits` makes of it what
            the model says of each target token, and of no other.
        """
        return (self.frozen or self.network).before_targets(rows)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the head to chosen hidden states [n, width]; returns [n, vocabulary]."""
        return self.network.logits(hidden)

    def check_packing(self, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
        """Whether packing gives these (prompt, target) rows the states that each has alone, in
        training as in prediction.

        Where it does not, rows are padded from now on.
        """
        core = self.core
        possible = not is_encoder_decoder(core.config) and not is_prompted(self.model)
        with self.fused():
            self.packs = possible and _trial.packs(core, rows)
        return self.packs

    def fused(self) -> contextlib.AbstractContextManager[int]:
        """A block in which LoRA's layers compute in one step each, with the same numbers."""
        return fused_lora(self.model)

    def score_labels(
        self,
        prompts: Sequence[Encoded],
        labels: Sequence[str],
        *,
        batch_tokens: int,
        before: Sequence[str] = (),
    ) -> np.ndarray:
        """Summed log-probability of each label's tokens and the stop token after each prompt.

        A prompt is computed once; labels are branches on its cached keys and values. Divide the
        exponentials by their sum over the labels for shares of the set.

        Args:
            prompts: n encoded prompts.
            labels: L texts.
            batch_tokens: most prompt tokens, padding included, in one batch.
            before: n texts that the model has written before the label, where it has.

        Returns:
            float64 array [n, L].
        """
        import numpy as np
        import torch

        ids = [prompt.ids for prompt in prompts]
        written = [self._written(text) for text in before]
        targets = [self._answer(label, bool(before)) for label in labels]
        found = np.zeros((len(prompts), len(labels)))
        with torch.inference_mode(), self.fused():
            if written and is_encoder_decoder(self.core.config):
                # Its decoder writes them: scored with each label, they change no label's share.
                for index, own in enumerate(written):
                    rows = [(*own, *target) for target in targets]
                    found[index] = self.network.score([ids[index]], rows).cpu().numpy()
                return found
            if written:
                ids = [(*prompt, *own) for prompt, own in zip(ids, written, strict=True)]

            def score(batch: list[int]) -> None:
                rows = [ids[index] for index in batch]
                found[batch] = self.network.score(rows, targets).cpu().numpy()

            for batch in self.network.batches(ids, batch_tokens, extra=sum(map(len, targets))):
                by_halves(batch, score, "scoring labels", str(self.device))
        return found

    def generate(
        self, prompts: Sequence[Encoded], *, max_new_tokens: int, batch_tokens: int
    ) -> list[tuple[str, bool]]:
        """Write an answer to each prompt, greedily, up to the stop token.

        Returns:
            For each prompt the text, and whether the stop token came before `max_new_tokens`.
        """
        import torch

        ids = [prompt.ids for prompt in prompts]
        found: list[tuple[str, bool]] = [("", False)] * len(prompts)
        with torch.inference_mode(), self.fused():

            def write(batch: list[int]) -> None:
                rows = [ids[index] for index in batch]
                for index, new in zip(batch, self._write(rows, max_new_tokens), strict=True):
                    found[index] = self._read(new)

            for batch in self.network.batches(ids, batch_tokens, extra=max_new_tokens):
                by_halves(batch, write, "writing answers", str(self.device))
        return found

    def _read(self, written: list[int]) -> tuple[str, bool]:
        """The text of what was written, and whether it ends in the stop token."""
        stopped = written[-1:] == [self.stop_id]
        text = self.tokenizer.decode(
            written[:-1] if stopped else written,
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return text, stopped

    def _write(self, rows: Sequence[tuple[int, ...]], limit: int) -> list[list[int]]:
        import torch

        reading = self.network.read(rows)
        last = reading.last
        written: list[list[int]] = [[] for _ in rows]
        going = torch.ones(len(rows), dtype=torch.bool)
        for step in range(limit):
            chosen = self.logits(last).argmax(-1)
            for index, token in enumerate(chosen.tolist()):
                if going[index]:
                    written[index].append(token)
                    going[index] = token != self.stop_id
            if not going.any() or step == limit - 1:
                break
            last = reading.extend(chosen[:, None])[:, -1]
        return written


def is_encoder_decoder(config: Any) -> bool:
    """Whether a model of this config reads with an encoder and answers with a decoder."""
    return bool(getattr(config, "is_encoder_decoder", False))


def load_transformers(
    folder: Path, ref: str, *, device: str, dtype: str = "auto", threads: int | None = None
) -> tuple[Any, Any]:
    """Load weights and tokenizer from a folder that the catalogue has resolved.

    What the config calls an encoder-decoder is loaded as one, all else as a causal model.

    Args:
        folder: config, tokenizer and safetensors.
        ref: the user's name for it, for messages.
        device: "cpu", "cuda", "cuda:0", "mps".
        dtype: a torch dtype's name, or "auto".
        threads: default: all cores that this process may use.

    Returns:
        The model in evaluation mode, and its tokenizer.
    """
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "local", "A model in process") from None
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads or cores())
    kind = precision(device) if dtype == "auto" else getattr(torch, dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        config = transformers.AutoConfig.from_pretrained(folder)
        auto = transformers.AutoModelForCausalLM
        if is_encoder_decoder(config):
            auto = transformers.AutoModelForSeq2SeqLM
        model = auto.from_pretrained(folder, dtype=kind)
    except ImportError as error:
        first = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(f'"{ref}" needs a package that is not here: {first}') from None
    except (OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise ModelFileError(f'transformers cannot load "{ref}": {first}') from None
    return model.to(device).eval(), tokenizer
