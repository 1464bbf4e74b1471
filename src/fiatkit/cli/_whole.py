"""A whole comparison: its cells filled, its report drawn, both followed by trackers."""

from __future__ import annotations

from fiatkit.errors import BudgetError
from fiatkit.experiment import Plan, compare
from fiatkit.experiment.following import Tracked
from fiatkit.experiment.progress import Progress
from fiatkit.report import Run, load_run, write_html, write_json, write_markdown


def compare_and_report(plan: Plan, progress: Progress) -> tuple[Run, BudgetError | None]:
    """Fill the cells that are left and write report.html.

    Trackers get the report without its rows, unless `track_rows` lets these out too.

    Returns:
        The finished run, and what is to be raised once its table is shown.
    """
    problem: BudgetError | None = None
    with Tracked(plan, progress) as tracked:
        try:
            compare(plan, tracked)
        except BudgetError as error:
            problem = error
        found = load_run(plan.out)
        html, written, table = (plan.out / f"report.{kind}" for kind in ("html", "json", "md"))
        write_html(found, html)
        if plan.config.track:
            write_json(found, written)
            write_markdown(found, table)
            tracked.report([written, table, *([html] if plan.config.track_rows else [])])
    return found, problem
