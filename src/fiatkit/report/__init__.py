"""A run folder in; a terminal table, one self-contained HTML file, JSON, Markdown or CSV out."""

from fiatkit.report.export import write_json, write_markdown
from fiatkit.report.html import write_html
from fiatkit.report.run import Run, load_run
from fiatkit.report.spreadsheet import GUARD_TOLD, write_csv, write_rows
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.terminal import terminal_table
from fiatkit.report.words import verdict

__all__ = [
    "GUARD_TOLD",
    "Line",
    "Run",
    "Summary",
    "load_run",
    "summarise",
    "terminal_table",
    "verdict",
    "write_csv",
    "write_html",
    "write_json",
    "write_markdown",
    "write_rows",
]
