"""What calls cost, in US dollars: by the user's own prices, else by the package genai-prices.

Prices are Decimals per million tokens. A price that is not known is None, never zero; only models
in this process cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from fiatkit.records import ModelIdentity, Usage
from fiatkit.settings import Strict

MILLION = Decimal(1_000_000)
WRITTEN, WRITTEN_1H = Decimal("1.25"), Decimal(2)
IN_PROCESS = ("scripted", "llama_cpp", "transformers")
Pricing = Callable[[Usage], Decimal | None]


class Price(Strict):
    """What a model costs: one entry of `prices:` in a run file, US dollars a million tokens.

    Attributes:
        prompt: of what it reads.
        completion: of what it writes, hidden reasoning too.
        cached: of what it reads and had read before; default: as `prompt`.
        written: of what it reads and puts into its cache, for five minutes; default: 1.25 times
            `prompt`, as at Anthropic, the only provider that tells of such tokens.
        written_1h: likewise, for an hour; default: twice `prompt`.
        batch: what a call in a batch costs, as a share of these.
    """

    prompt: Decimal = Field(ge=0)
    completion: Decimal = Field(ge=0)
    cached: Decimal | None = Field(default=None, ge=0)
    written: Decimal | None = Field(default=None, ge=0)
    written_1h: Decimal | None = Field(default=None, ge=0)
    batch: Decimal = Field(default=Decimal("0.5"), ge=0, le=1)

    def of(self, usage: Usage) -> Decimal | None:
        """The price of one call, or None where its tokens are not known."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached, written, hour = _parts(usage)
        paid = (usage.prompt_tokens - cached - written) * self.prompt
        paid += cached * (self.prompt if self.cached is None else self.cached)
        brief = self.prompt * WRITTEN if self.written is None else self.written
        long = self.prompt * WRITTEN_1H if self.written_1h is None else self.written_1h
        paid += (written - hour) * brief + hour * long
        return (paid + usage.completion_tokens * self.completion) / MILLION


def _parts(usage: Usage) -> tuple[int, int, int]:
    """Of the prompt's tokens, those from the cache, those put into it, and of these for an hour."""
    prompt = usage.prompt_tokens or 0
    cached = min(usage.cached_tokens or 0, prompt)
    written = min(max(usage.written_tokens or 0, usage.written_1h_tokens or 0), prompt - cached)
    return cached, written, min(usage.written_1h_tokens or 0, written)


def shown(cost: Decimal) -> str:
    """US dollars as a user reads them: cents from a dollar on, below that more places."""
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def pricing(identity: ModelIdentity, prices: Mapping[str, Price]) -> Pricing | None:
    """How the calls of a model are priced; None if nobody knows.

    Args:
        identity: the model and its endpoint.
        prices: the user's own, by the model's name; they win.
    """
    if identity.model in prices:
        return prices[identity.model].of
    if identity.provider in IN_PROCESS:
        return lambda usage: Decimal(0)
    return _listed(identity)


def batch_share(identity: ModelIdentity, prices: Mapping[str, Price]) -> Decimal:
    """What a call in a batch costs, as a share of a single one: half, if the user says no other."""
    own = prices.get(identity.model)
    share: Decimal = Price.model_fields["batch"].default if own is None else own.batch
    return share


def _listed(identity: ModelIdentity) -> Pricing | None:
    """By genai-prices, if it is installed and knows this model at this provider."""
    if identity.provider != "anthropic" and not urlsplit(identity.endpoint).hostname:
        return None
    try:
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price
    except ImportError:
        return None
    where: dict[str, Any] = {"provider_api_url": identity.endpoint}
    if identity.provider == "anthropic":
        where = {"provider_id": "anthropic"}
    try:
        found = calc_price(Tokens(input_tokens=1, output_tokens=1), identity.model, **where)
    except LookupError:
        return None
    listed = found.model_price

    def price(usage: Usage) -> Decimal | None:
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached, written, hour = _parts(usage)
        tokens = Tokens(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=cached,
            output_tokens=usage.completion_tokens,
            **({"cache_write_tokens": written, "cache_write_1h_tokens": hour} if written else {}),
        )
        return Decimal(listed.calc_price(tokens)["total_price"])

    return price
