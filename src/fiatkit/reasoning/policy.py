"""What a run may spend, how long it may wait, and what it does with failures."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fiatkit.settings import Strict

DAY = 24 * 3600.0
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
Retry = Literal["refused", "truncated", "empty"]


def seconds(value: Any) -> Any:
    """A duration such as 90, "30m" or "2h" in seconds.

    Raises:
        ValueError: it is no duration.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
    if found is None:
        raise ValueError(f'"{value}" is no duration; write 90, "30m" or "2h"')
    return float(found[1]) * UNITS[found[2]]


class Policy(Strict):
    """The block `limits:` of a run file; flags of the commands win over it.

    Attributes:
        max_cost: US dollars that one command may spend; calls that may have been billed, and those
            whose cost is unknown, count at the most they can have cost.
        max_calls: calls that one command may make, whatever comes of them.
        max_wait: seconds without any answer that a rate limit or a failing endpoint may take.
        max_attempts: tries of one row that fail for a reason that will pass.
        max_empty: calls for a row whose answers are empty.
        requests_per_minute, tokens_per_minute: kept from the first call on; without them, what
            the endpoint says of its limits is kept.
        retry_ambiguous: "auto" asks again when the reply to a call was lost, "never" does not,
            since the call may have been billed: such rows fail.
        retry: reasons of stored failures that are asked for again.
        strict: stop when another model than the one asked for answers.
    """

    max_cost: Decimal | None = Field(default=None, ge=0)
    max_calls: int | None = Field(default=None, ge=0)
    max_wait: Annotated[float, BeforeValidator(seconds)] = Field(default=DAY, ge=0)
    max_attempts: int = Field(default=6, ge=1)
    max_empty: int = Field(default=2, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    retry_ambiguous: Literal["auto", "never"] = "auto"
    retry: tuple[Retry, ...] = ()
    strict: bool = False
