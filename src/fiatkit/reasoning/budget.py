"""What may still be spent. Every call reserves the most that it can cost before it is sent."""

from __future__ import annotations

from decimal import Decimal

from fiatkit.errors import CapReachedError, SettingsError
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Pricing, shown
from fiatkit.records import ModelIdentity, Request, Usage

BYTES_PER_TOKEN = 1.0  # before the endpoint has told: no text has more tokens than bytes
PER_MESSAGE = 8  # tokens of a chat template round each message


class Budget:
    """The calls and the money of one command.

    Attributes:
        cost: US dollars of the calls whose cost is known.
        unknown: calls that may have cost something that nobody knows.

    Raises:
        SettingsError: a cap on the cost, and no price.
    """

    def __init__(self, policy: Policy, pricing: Pricing | None, identity: ModelIdentity) -> None:
        self.policy = policy
        self.pricing = pricing
        self._charges_writing = identity.provider == "anthropic"
        self.cost = Decimal(0)
        self.unknown = 0
        self.calls = 0
        self._unsure = Decimal(0)
        self._reserved = Decimal(0)
        self._most_tokens = 0
        self._bytes_per_token = BYTES_PER_TOKEN
        if policy.max_cost is not None and pricing is None:
            raise SettingsError(
                f'max_cost cannot be kept: the price of "{identity.model}" is not known.',
                f"Put it into the run file: prices: {{{identity.model}: {{prompt: 0.5, "
                'completion: 1.5}}, US dollars a million tokens; or pip install "fiatkit[prices]".',
            )

    def prompt_tokens(self, request: Request) -> int:
        """About how many tokens a request has; rather too many until answers have told."""
        size = sum(len(m.content.encode("utf-8", "replace")) for m in request.messages)
        return int(size / self._bytes_per_token) + PER_MESSAGE * len(request.messages)

    def worst(self, request: Request) -> Decimal:
        """The most that a request can cost: nothing cached, all put into the cache, where that
        is charged, and all that it may write."""
        if self.pricing is None:
            return Decimal(0)
        most = max(request.sampling.max_tokens, self._most_tokens)
        read = self.prompt_tokens(request)
        kept = read if self._charges_writing else None
        return self.pricing(Usage(read, most, 0, None, kept, kept)) or Decimal(0)

    def price(self, usage: Usage, share: Decimal = Decimal(1)) -> Decimal | None:
        """What a call cost; None if that is not known."""
        cost = None if self.pricing is None else self.pricing(usage)
        return None if cost is None else cost * share

    def room(self, worst: Decimal) -> bool:
        """Whether a call may be sent beside those under way.

        Raises:
            CapReachedError: no call may be sent any more, whatever those under way will cost.
        """
        policy = self.policy
        if policy.max_calls is not None and self.calls >= policy.max_calls:
            raise CapReachedError(
                f"max_calls reached: {self.calls} calls were made.",
                "Every answer is kept. Run the same command again, with a higher --max-calls, to "
                "go on.",
            )
        if policy.max_cost is None:
            return True
        spent = self.cost + self._unsure
        if spent + worst > policy.max_cost:
            raise CapReachedError(
                f"max_cost reached: {shown(self.cost)} spent"
                + (f", up to {shown(self._unsure)} more possibly billed" if self._unsure else "")
                + f"; the next call may cost {shown(worst)}, and ${policy.max_cost} is the limit.",
                "Every answer is kept. Run the same command again, with a higher --max-cost if "
                "need be, to go on.",
            )
        return spent + self._reserved + worst <= policy.max_cost

    def reserve(self, worst: Decimal) -> None:
        """A call is sent."""
        self.calls += 1
        self._reserved += worst

    def settle(
        self,
        worst: Decimal,
        usage: Usage | None,
        *,
        possibly_billed: bool = False,
        share: Decimal = Decimal(1),
    ) -> Decimal | None:
        """A call is over. Returns what it cost, None if that is not known.

        Args:
            worst: what was reserved for it.
            usage: its tokens; None if it brought nothing.
            possibly_billed: it brought nothing, but may have been carried out.
            share: what it costs, as a share of a single call.
        """
        self._reserved -= worst
        if usage is None and not possibly_billed:
            return None
        cost = None if usage is None else self.price(usage, share)
        if self.pricing is not None and not worst:
            cost = worst
        if cost is None:
            self.unknown += 1
            self._unsure += worst
        else:
            self.cost += cost
        return cost

    def learn(self, request: Request, usage: Usage) -> None:
        """Let estimates follow what answers told."""
        if usage.prompt_tokens:
            size = sum(len(m.content.encode("utf-8", "replace")) for m in request.messages)
            real = max(1, usage.prompt_tokens - PER_MESSAGE * len(request.messages))
            seen = size / real
            first = self._bytes_per_token == BYTES_PER_TOKEN
            self._bytes_per_token = seen if first else min(self._bytes_per_token, seen)
        self._most_tokens = max(self._most_tokens, usage.completion_tokens or 0)
