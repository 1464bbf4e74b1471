"""A folder for vLLM, and the flags to serve it with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from fiatkit.artefact.export import merged, peft
from fiatkit.artefact.export._snippets import client_code, fenced
from fiatkit.artefact.export._source import Source, copy_tokenizer
from fiatkit.errors import ArtefactError

DEFAULT_RANK = 16
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
PLAIN = ("--generation-config", "vllm")  # rather than the base's own penalties and the like
CLIENT = '''
from openai import OpenAI

MODEL = {model}
client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")


def complete(prompt, **more):
    """What the server writes; it is given ids, so that it adds nothing to the prompt."""
    return client.completions.create(
        model=MODEL,
        prompt=prompt,
        max_tokens=form["max_answer_tokens"],
        temperature=0,
        extra_body={"stop_token_ids": [form["stop_id"]]} | more,
    ).choices[0]
'''
CHOOSE = '''


def choose(prompt, before=()):
    """The label that the model writes, held to the labels."""
    labels = [form["before_label"] + label for label in form["labels"]]
    done = complete([*prompt, *before], structured_outputs={"choice": labels})
    return done.text.strip()
'''
WRITE = '''


def write(prompt):
    """The text that the model writes, and whether it comes to an end."""
    done = complete(prompt)
    return done.text, done.finish_reason == "stop"
'''
RULE = """
The server writes greedily among the labels, token by token. fiatkit weighs whole labels, and so
does the code of a `peft`, `merged` or `gguf` export: where the model is in doubt, the likeliest
first token need not begin the likeliest label.
"""


def write(source: Source, folder: Path) -> tuple[str, str]:
    """Write an adapter that vLLM loads, or the whole model where it is one."""
    name = source.task.name
    if not source.is_adapter:
        merged.put_model(source, folder / "model")
        flags = ["vllm", "serve", "model", *PLAIN, "--served-model-name", name]
        where = "`model` is the whole model."
    else:
        _refuse_unknown(source)
        (folder / "adapter").mkdir()
        peft.put_adapter(source, folder / "adapter")
        where = peft.put_base(source, folder / "base")
        flags = serve_flags(source)
    copy_tokenizer(source, folder)
    command, client = shlex.join(flags), CLIENT.replace("{model}", repr(name))
    code = fenced(client_code(source, client, CHOOSE, WRITE))
    rule = RULE if source.task.choices else ""
    usage = f"{where} In this folder:\n\n{fenced(command, 'sh')}\n\nThen:\n{rule}\n{code}"
    return usage, f"Serve it there with: {command}"


def serve_flags(source: Source) -> list[str]:
    """The command that serves base and adapter, in the folder of the export."""
    config = json.loads((source.artefact.folder / peft.ADAPTER[0]).read_text(encoding="utf-8"))
    flags = ["vllm", "serve", peft.base_name(source), *PLAIN, "--enable-lora"]
    if source.hub_base:
        flags += ["--revision", source.artefact.manifest.small["revision"]]
    flags += ["--lora-modules", f"{source.task.name}=adapter"]
    if config["r"] > DEFAULT_RANK:
        flags += ["--max-lora-rank", str(next(rank for rank in RANKS if rank >= config["r"]))]
    return flags


def _refuse_unknown(source: Source) -> None:
    """Refuse adapters of kinds that vLLM does not load."""
    config = json.loads((source.artefact.folder / peft.ADAPTER[0]).read_text(encoding="utf-8"))
    plain = config["peft_type"] == "LORA"
    plain = plain and not config.get("use_dora") and not config.get("target_parameters")
    if not plain or config["r"] > RANKS[-1]:
        merged = config["peft_type"] != "PROMPT_TUNING"
        raise ArtefactError(
            f"vLLM loads plain LoRA adapters of a rank of at most {RANKS[-1]}, not on experts that "
            "are kept as one weight; this one was tuned by the method "
            f'"{source.artefact.manifest.method}".',
            "Export it with --to merged, which vLLM serves as a model of its own."
            if merged
            else "Virtual tokens cannot be merged either: export it with --to peft, or tune with "
            "lora.",
        )
