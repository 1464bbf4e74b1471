"""fiat export: an artefact in a form that other programs read, with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import Base

Folder = Annotated[
    Path, typer.Argument(metavar="ARTEFACT", help="Folder of `fiat tune`, or hub:owner/name.")
]
Kind = Annotated[str, typer.Option("--to", help="peft, merged, gguf, vllm or hub.")]
Out = Annotated[Path, typer.Option(help="Folder to write; must not exist yet.")]
CopyBase = Annotated[
    bool,
    typer.Option("--copy-base/--no-base", help="Put the base beside an adapter if no hub has it."),
]
Precision = Annotated[str, typer.Option(help="Weights of a GGUF file: f16, f32 or q8_0.")]
Push = Annotated[str | None, typer.Option(help="Upload the folder to owner/name on the hub.")]
Private = Annotated[bool, typer.Option(help="With --push: to a private repository only.")]


def run(
    artefact: Folder,
    kind: Kind,
    out: Out,
    base: Base = None,
    copy_base: CopyBase = True,
    precision: Precision = "f16",
    push: Push = None,
    private: Private = False,
) -> None:
    """Write an artefact as other programs read it: what uses it needs no fiatkit.

    What is written is compared with the artefact first. README.md in the folder is its model card
    and says how to use it; the flags to serve it with are printed.

    Example:  fiat export my-model --to merged --out my-model-merged
    """
    from fiatkit.artefact.export import export, hub
    from fiatkit.cli._console import console

    if push:
        hub.check_name(push)
    told = export(artefact, kind, out, base=base, copy_base=copy_base, precision=precision)
    console.print(f"{out}: see README.md in it.", markup=False, soft_wrap=True)
    if told:
        console.print(told, markup=False, soft_wrap=True)
    if push:
        console.print(hub.push(out, push, private=private), markup=False, soft_wrap=True)
