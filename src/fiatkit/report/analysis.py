"""All that is computed about a run, as plain values for other programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fiatkit.report.curves import curves
from fiatkit.report.evidence import evidence
from fiatkit.report.family import family
from fiatkit.report.languages import languages
from fiatkit.report.price import prices
from fiatkit.report.rationales import rationales
from fiatkit.report.run import Run


def analysis(run: Run) -> dict[str, Any]:
    """Comparisons, curves, languages, price and rationales; what is undefined is None.

    The keys are the modules' names, the values the fields of their records. `problems` names
    cells that could not be scored, and why.
    """
    read = rationales(run)
    return {
        "comparisons": asdict(family(run)),
        "curves": asdict(curves(run)),
        "languages": asdict(languages(run)),
        "price": asdict(prices(run)),
        "rationales": None if read is None else asdict(read),
        "problems": evidence(run).problems,
    }
