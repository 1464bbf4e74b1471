"""Numbers and data as text for people: the same in the terminal, in HTML and in Markdown."""

from __future__ import annotations

from fiatkit.errors import redacted as redacted
from fiatkit.metrics import Difference, Estimate
from fiatkit.visible import one_line as one_line
from fiatkit.visible import plain as plain

LONGEST = 3000


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most `longest` characters; says how many more there are."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} [... {len(text) - longest:,} more characters]"


def number(value: float | None) -> str:
    """A score with one decimal, or a dash."""
    return "-" if value is None else f"{value:.1f}"


def estimated(found: Estimate, *, signed: bool = False) -> str:
    """A number with its interval in brackets, or a dash."""
    if found.value is None:
        return "-"
    form = "{:+.1f}" if signed else "{:.1f}"
    told = form.format(found.value)
    if found.low is None or found.high is None:
        return told
    return f"{told} [{form.format(found.low)}, {form.format(found.high)}]"


def signed(found: Difference | None, sure: bool) -> str:
    """A difference with its interval; a star where it is sure."""
    if found is None:
        return "-"
    star = "*" if sure else ""
    return f"{found.value:+.1f}{star} [{found.low:+.1f}, {found.high:+.1f}]"


def tokens(count: float | None) -> str:
    """A token count, in thousands or millions where it is large."""
    if count is None:
        return "?"
    if count >= 10_000_000:
        return f"{count / 1_000_000:.0f}M"
    return f"{count / 1000:.0f}k" if count >= 1000 else f"{count:.0f}"


def count(number: int | None) -> str:
    """A number of calls, or a question mark."""
    return "?" if number is None else f"{number:,}"


def clock(seconds: float | None) -> str:
    """Minutes and seconds; hours where there are some; a question mark where nobody knows."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def duration(seconds: float) -> str:
    """A time as a person says it: "35 min", "1.5 h"."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size or seconds == size:
            value = seconds / size
            return (
                f"{value:.0f} {name}"
                if value >= 10 or value == round(value)
                else (f"{value:.1f} {name}")
            )
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"


def dollars(value: float | None) -> str:
    """US dollars, with as many digits as a small sum needs."""
    if value is None:
        return "?"
    if value and abs(value) < 0.995:
        return f"${value:.2g}" if abs(value) < 0.095 else f"${value:.2f}"
    return f"${value:,.2f}" if abs(value) < 100 else f"${value:,.0f}"


def probability(p: float | None) -> str:
    """A p-value with three digits, never as zero."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
