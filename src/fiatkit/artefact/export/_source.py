"""What every export is made from, and the parts that several of them share."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from fiatkit import prompts
from fiatkit.artefact.loading import Artefact
from fiatkit.errors import ArtefactError
from fiatkit.models import catalogue
from fiatkit.models._literal import Literal
from fiatkit.records import Query, SmallPrompt
from fiatkit.tasks import Task

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

MOST = 100_000  # tokens; nothing is cut here
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json"),
)


@dataclass(frozen=True)
class Source:
    """What an export is made from: an artefact with its base, loaded on the CPU.

    Attributes:
        base: folder of the base model.
        copy_base: whether the base is put beside an adapter if no hub has it.
        precision: of GGUF weights: "f32", "f16" or "q8_0".
    """

    artefact: Artefact
    small: SmallModel
    base: Path
    copy_base: bool = True
    precision: str = "f16"

    @cached_property
    def task(self) -> Task:
        """The task that it was tuned on."""
        return Task.model_validate(self.artefact.preparation["task"])

    @property
    def is_adapter(self) -> bool:
        """Whether the artefact holds an adapter rather than a whole model."""
        return hasattr(self.small.model, "peft_config")

    @property
    def hub_base(self) -> str | None:
        """The base as `owner/name` on the hub; None where no hub has these very weights.

        A model of the catalogue has a name of one word, and so has a folder, wherever it lies.
        """
        name = str(self.artefact.manifest.small["name"])
        return name if catalogue.HUB_ID.fullmatch(name) else None

    @property
    def has_name(self) -> bool:
        """Whether fiatkit finds the base by its name, on any machine."""
        return self.hub_base is not None or self.artefact.base in catalogue.ENTRIES

    @property
    def reasons(self) -> bool:
        """Whether the model writes a rationale of its own before its answer."""
        return bool(self.artefact.preparation["recipe"].get("rationale") == "target")

    @property
    def writes(self) -> bool:
        """Whether the model writes a text, be it its answer or what comes before a label."""
        return self.reasons or not self.task.choices

    @property
    def reads_rationale(self) -> bool:
        """Whether the large model's rationale is part of the prompt."""
        return bool(self.artefact.preparation["recipe"].get("rationale") == "large")

    @property
    def falls_back(self) -> bool:
        """Whether it was tuned on rows without their rationale too, and so answers without one."""
        dropout = self.artefact.preparation["recipe"].get("rationale_dropout", 0.0)
        return self.reads_rationale and dropout > 0

    @cached_property
    def form(self) -> dict[str, Any]:
        """What prompt.json says: the pieces of a prompt, each tokenised by itself, in order."""
        recipe = self.artefact.preparation["recipe"]
        rationale = "" if self.reads_rationale else None
        query = Query("", dict.fromkeys(self.task.field_names, ""))
        shown = prompts.tuning_prompt(
            self.task, query, instruction=recipe["instruction"], rationale=rationale
        )
        frame = self.small.encode(SmallPrompt("", ()), max_length=MOST, reserve=0)
        before = frame.spans[0][1]
        gap = "" if self.small.has_template else self.small.network.gap
        return {
            "fields": self.task.titles,
            "before_ids": list(frame.ids[:before]),
            "parts": [
                {"kind": part.kind, "text": "" if part.kind == "query" else part.text}
                for part in shown.parts
            ],
            "after_ids": list(frame.ids[before:]),
            "control_ids": sorted(Literal(self.small.tokenizer).control),
            "before_answer": gap,
            "before_label": " " if self.reasons else gap,
            "stop_id": self.small.stop_id,
            "max_answer_tokens": self._most_tokens(),
            "marker": self.task.reasoning.marker if self.reasons else None,
            "labels": self.task.choices,
        } | self._reasoning(query)

    def _most_tokens(self) -> int:
        """Tokens of the longest answer and its stop token, and of reasoning before it."""
        most = self.task.max_answer_tokens
        if labels := self.task.choices:
            texts = [prompts.target_text(self.task, label) for label in labels]
            most = max(len(self.small.encode_target(text)) for text in texts)
        if self.reasons:
            marker = prompts.written_before_answer(self.task, "x")
            most += self.task.reasoning.max_tokens + len(self.small.encode_target("", marker))
        return most

    def _reasoning(self, query: Query) -> dict[str, Any]:
        """What the large model reads before a row, where its rationale is part of the prompt."""
        if not self.reads_rationale:
            return {}
        messages = prompts.reasoning_messages(self.task, query)[:-1]
        return {"reasoning": [asdict(message) for message in messages]}

    @cached_property
    def samples(self) -> list[tuple[int, ...]]:
        """Ids of a few prompts, on which an export is compared with what it was made from."""
        texts = ["An example.", "¿Qué tal? 12,345 años", "小包が遅れています。 “so” 🙂\n\n  x"]
        recipe = self.artefact.preparation["recipe"]
        rationale = "It says so." if self.reads_rationale else None
        found = []
        for text in texts:
            query = Query("", dict.fromkeys(self.task.field_names, text))
            shown = prompts.tuning_prompt(
                self.task, query, instruction=recipe["instruction"], rationale=rationale
            )
            encoded = self.small.encode(shown, max_length=512, reserve=0)
            found.append(encoded.ids[:512])
        return found


def without_place(ref: str) -> str:
    """A model's name as it may be shown to others: of a path on this machine, its last part."""
    path = PurePath(ref)
    return path.name if path.is_absolute() or ref.startswith((".", "~")) else ref


def copy_tokenizer(source: Source, folder: Path) -> None:
    """Put the base's own tokenizer files into `folder`, unchanged; nothing else of the base."""
    own = source.small.tokenizer.vocab_files_names.values()
    for name in dict.fromkeys((*TOKENIZER, *own)):
        if (source.base / name).is_file():
            shutil.copyfile(source.base / name, folder / name)


def copy_base(source: Source, folder: Path) -> None:
    """Put the base, as it was when it was tuned, into `folder`."""
    folder.mkdir()
    for pattern in catalogue.READ:
        for file in source.base.glob(pattern):
            if file.name not in catalogue.NOT_READ:
                shutil.copyfile(file, folder / file.name)


def merge(source: Source) -> Any:
    """The tuned model as one, its adapter added to the base's weights.

    Raises:
        ArtefactError: the method's adapter cannot be merged, or the merged model computes
            something else.
    """
    import torch

    model = source.small.model
    if not source.is_adapter:
        return model
    if model.active_peft_config.is_prompt_learning:
        raise ArtefactError(
            f'"{source.artefact.folder}" holds a prompt, not weights to merge.',
            "Export it with --to peft.",
        )
    with torch.inference_mode():
        before = [next_logits(source, model, ids) for ids in source.samples]
        whole = model.merge_and_unload()
        after = [next_logits(source, whole, ids) for ids in source.samples]
    for was, now in zip(before, after, strict=True):
        if not torch.allclose(was, now, atol=1e-3 * float(was.abs().max()), rtol=0):
            raise ArtefactError(
                f'"{source.artefact.folder}": the merged model does not compute what the adapter '
                f"does (logits differ by up to {float((was - now).abs().max()):.3g}).",
                "Export it with --to peft.",
            )
    return whole


def next_logits(source: Source, model: Any, ids: Sequence[int]) -> Any:
    """Logits of the first answer token after a prompt, as float32 [vocabulary]."""
    import torch

    row = torch.tensor([list(ids)])
    target = torch.tensor([[source.small.stop_id]])
    decoder = model.config.is_encoder_decoder
    output = model(input_ids=row, labels=target) if decoder else model(input_ids=row)
    return output.logits[0, -1].float()
