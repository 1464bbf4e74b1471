"""Ways out of fiatkit, one file each: `write(source, folder)` puts the files there.

It returns the section of the model card that says how to use them, as Markdown, and what to tell
the user now. The files need no
fiatkit: prompt.json beside them says, as data, what it takes to write a prompt as in tuning.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fiatkit import registry
from fiatkit.artefact import loading
from fiatkit.artefact.export._card import card
from fiatkit.artefact.export._source import Source
from fiatkit.artefact.weights import writing
from fiatkit.errors import UsageError
from fiatkit.files import LOCK, locked, sync, write_json, write_whole
from fiatkit.models import catalogue

ROOM = "artefact.export"
PROMPT = "prompt.json"


def export(
    folder: Path,
    kind: str,
    out: Path,
    *,
    base: str | None = None,
    copy_base: bool = True,
    precision: str = "f16",
) -> str:
    """Write an artefact in a form that other programs read, with a model card, whole or not at all.

    Args:
        folder: the artefact.
        kind: peft, merged, gguf, vllm or hub.
        out: must not exist.
        base: where the base model lies now, if it was moved.
        copy_base: put the base beside an adapter where no hub has these very weights.
        precision: of GGUF weights: f32, f16 or q8_0.

    Returns:
        What there is to tell beside the model card, such as the command to serve it with.

    Raises:
        ArtefactError: the artefact is refused, or cannot be written in this form, or what would
            be written does not compute what the artefact computes.
        UsageError: `out` exists already or lies in the artefact, or the artefact is a control.
        EnvironmentProblem: another process writes there, the disk is full, or the place cannot
            be written.
    """
    plugin = registry.get(ROOM, kind)
    _refuse_existing(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f'"{out}" lies in the artefact.', "Choose another folder with --out.")
    artefact = loading.read(folder)
    recipe = artefact.preparation["recipe"]
    if recipe.get("hint", "whole") != "whole" or recipe.get("rationale") == "small":
        raise UsageError(
            f'"{folder}" holds a control ({recipe["name"]}), which no other program can prompt.',
            "Controls are for comparisons; export fiat, instruct, lora, distil or finetune.",
        )
    with _whole(out) as work:
        small = loading.load_weights(artefact, device="cpu", base=base)
        place, _ = catalogue.resolve_transformers(base or artefact.base)
        source = Source(artefact, small, place, copy_base, precision)
        usage, told = plugin.write(source, work)
        write_json(work / PROMPT, source.form)
        write_whole(work / "README.md", card(source, kind, usage, out.name).encode())
    return str(told)


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write in, which becomes `out` at the end; one process at a time has it."""
    work = out.with_name(f".{out.name}.part")
    with locked(work, "unfinished export"):
        try:
            with writing(out):
                _refuse_existing(out)
                for left in work.iterdir():  # by one that was killed
                    if left.name != LOCK:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield work
                for path in (*work.rglob("*"), work):  # libraries do not bring files to the disk
                    path.chmod(0o755 if path.is_dir() else 0o644)
                    sync(path)
                work.rename(out)
                (out / LOCK).unlink()  # only now: without it, another could begin in `work`
                sync(out.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise UsageError(f'"{out}" exists already.', "Choose another folder with --out.")
