"""The model card: what the model is, what it scored, how to use it, and what it cannot do."""

from __future__ import annotations

import json
from typing import Any

from fiatkit.artefact.export._source import Source, without_place
from fiatkit.models import catalogue

KINDS = {
    "peft": "a PEFT adapter",
    "merged": "a whole model in safetensors, the adapter merged into it",
    "gguf": "a GGUF file for llama.cpp",
    "vllm": "a folder for vLLM",
    "hub": "an artefact of fiatkit, whose adapter PEFT reads too",
}


def card(source: Source, kind: str, usage: str, title: str) -> str:
    """README.md of an export, with the metadata that the hub reads."""
    artefact = source.artefact
    recipe = artefact.preparation["recipe"]
    return "\n".join(
        [
            *_metadata(source, kind),
            f"# {_plain(title)}",
            "",
            f"{KINDS.get(kind, kind).capitalize()}, tuned with fiatkit on the task "
            f"**{_plain(source.task.name)}**. {_plain(source.task.description)}".strip(),
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {_plain(value)} |" for name, value in _facts(source)),
            "",
            "## Scores",
            "",
            *_scores(source),
            "",
            "## How to use",
            "",
            usage.strip(),
            "",
            "## Limits",
            "",
            *(f"- {line}" for line in _limits(source, recipe)),
            "",
        ]
    )


def _metadata(source: Source, kind: str) -> list[str]:
    licence = str(source.artefact.manifest.small.get("licence", "unknown"))
    known = catalogue.ENTRIES.get(source.artefact.base)
    base = known.upstream if known else source.hub_base
    lines = ["---", f"license: {'apache-2.0' if licence == 'Apache-2.0' else 'other'}"]
    if lines[-1].endswith("other"):
        lines.append(f"license_name: {json.dumps(licence)}")
    if base:
        lines.append(f"base_model: {json.dumps(base)}")
    library = {"peft": "peft", "hub": "peft", "vllm": "peft", "merged": "transformers"}.get(kind)
    if library:
        lines.append(f"library_name: {library}")
    return [*lines, "tags: [fiatkit]", "---", ""]


def _facts(source: Source) -> list[tuple[str, str]]:
    manifest, prepared = source.artefact.manifest, source.artefact.preparation
    small, recipe = manifest.small, prepared["recipe"]
    facts = [
        ("recipe", f"{recipe['label']}; method {manifest.method}"),
        ("base", f"{small['name']}, revision {small['revision']}"),
        ("licence of the base", str(small.get("licence", "unknown"))),
    ]
    if source.task.choices:
        facts.insert(0, ("labels", ", ".join(source.task.choices)))
    if manifest.large:
        large = manifest.large
        facts += [
            (
                "large model, which writes the rationales",
                f"{without_place(str(large['model']))} ({large['provider']})",
            ),
            ("licence of the large model", str(large.get("licence", "unknown"))),
        ]
    if data := manifest.data or prepared.get("tuned_on"):
        facts.append(("tuned on", f"{data['rows']} rows, seed {data['seed']}"))
    facts.append(("licence of the rows", "not known to fiatkit; whoever publishes this states it"))
    made = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    facts.append(("made with", made or f"fiatkit {prepared.get('fiatkit')}"))
    return facts


def _scores(source: Source) -> list[str]:
    scores = source.artefact.manifest.scores
    if not scores:
        return ["None were kept with it."]
    lines = [
        "0 to 100, with 95 % intervals over groups of rows.",
        "",
        "| rows | metric | score | 95 % | number |",
        "|---|---|---|---|---|",
    ]
    for split, by_metric in scores.items():
        for name, score in by_metric.items():
            value, low, high = (_number(score[key]) for key in ("value", "low", "high"))
            cells = (split, name, value, f"{low} to {high}", str(score["n"]))
            lines.append(f"| {' | '.join(map(_plain, cells))} |")
    if "dev" in scores and "test" not in scores:
        lines += ["", "The epoch was chosen on the dev rows: expect a little less on new ones."]
    return lines


def _limits(source: Source, recipe: dict[str, Any]) -> list[str]:
    lines = [
        "It answers this task in this form of prompt only. A prompt that is written or tokenised "
        "in another way is one that it has not learnt.",
        f"Prompts and answers of up to {source.artefact.preparation['max_length']} tokens were "
        "tuned on.",
        "A text can try to talk it into an answer; do not let an answer alone decide what matters.",
    ]
    if source.task.exemplars:
        lines.append(
            "Worked examples of the task, which may be rows of data, stand in this card and in the "
            f"JSON files beside it ({len(source.task.exemplars)} in all)."
        )
    if source.reasons:
        marker = source.task.reasoning.marker
        lines.insert(1, f'It writes its reasoning first, and its answer behind "{marker}".')
    if source.reads_rationale:
        without = "Without one, or with another's, it answers worse."
        if source.falls_back:
            without = (
                f"A share of {recipe['rationale_dropout']:.0%} of its rows was tuned on without "
                "one: it answers without too, less well. Another's it has not learnt to read."
            )
        lines.insert(
            1,
            "It reads a rationale by the large model named above, written without knowing the "
            f"answer. {without} The instruction for it is in prompt.json, under `reasoning`.",
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _plain(text: object) -> str:
    """Text as one line that ends no cell and opens no tag."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
