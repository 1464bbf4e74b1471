"""fiat predict: an artefact answers new rows, by the same two stages as in tuning."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import Base, Encoding
from fiatkit.cli._spending import (
    MaxCalls,
    MaxCost,
    MaxWait,
    Retry,
    RetryAmbiguous,
    Strict,
    with_flags,
)

Artefact = Annotated[Path, typer.Argument(metavar="ARTEFACT", help="Folder of `fiat tune`.")]
Rows = Annotated[Path, typer.Argument(metavar="ROWS", help="JSONL or CSV; no target needed.")]
Out = Annotated[Path, typer.Option(help="Where the predictions go (JSONL).")]
Store = Annotated[Path, typer.Option(help="Rationale store.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Pass over rows that cannot be read, and say so.")
]


def run(
    artefact: Artefact,
    rows: Rows,
    out: Out = Path("predictions.jsonl"),
    store: Store = Path("runs/rationales.sqlite"),
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_wait: MaxWait = None,
    retry_ambiguous: RetryAmbiguous = None,
    retry: Retry = None,
    strict: Strict = False,
    encoding: Encoding = None,
    base: Base = None,
    skip_bad: SkipBad = False,
) -> None:
    """Answer new rows with a tuned model: the rationale first, if it was tuned with one.

    Example:  fiat predict my-model new_rows.csv --out answers.jsonl
    """
    from fiatkit.cli._console import Bars, console
    from fiatkit.experiment.single import predict_rows
    from fiatkit.experiment.tuned import cut_notes
    from fiatkit.reasoning.policy import Policy

    limits = with_flags(Policy(), max_cost, max_calls, max_wait, retry_ambiguous, retry, strict)
    with Bars() as bars:
        predictions = predict_rows(
            artefact, rows, out, store, bars, limits, encoding, base, skip_bad=skip_bad
        )
    for note in cut_notes(predictions):
        console.print(note, markup=False)
    counts = Counter(prediction.status for prediction in predictions)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    if alone := sum(prediction.fallback != "" for prediction in predictions):
        told += f"; {alone} without their rationale, which failed"
    console.print(f"{len(predictions)} predictions ({told}): {out}", markup=False, soft_wrap=True)
