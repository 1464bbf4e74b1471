"""When the next request may be sent: rates, pauses, adaptive concurrency, a circuit breaker.

Knows no requests and no model; all times are monotonic seconds. The number of requests under way
grows and shrinks as TCP's window does (slow start, then one more a round; back to one, and half as
far, after a rate limit), since a provider, like a network, tells its limit only by refusing.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

from fiatkit.records import RateLimit, RateLimits

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
BURST = 1.0  # seconds' worth of requests that may go at once
BESIDE = 8  # one more request for so many stands ready while others are under way
WINDOW = 50  # outcomes that the circuit breaker looks at


class Rate:
    """So much a minute, evenly: each amount taken moves the time of the next one.

    Args:
        per_minute: the user's limit; without one, only what is learnt holds.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._own = None if per_minute is None else per_minute / 60
        self.per_second = self._own
        self._free_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until something may be taken."""
        return max(0.0, self._free_at - now) if self.per_second else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount; negative ones give back what was taken too much."""
        if self.per_second:
            start = max(self._free_at, now - BURST) if amount > 0 else self._free_at
            self._free_at = start + amount / self.per_second

    def learn(self, heard: RateLimit, each: float, volley: float, now: float) -> None:
        """Keep the endpoint's own pace while less is left than a volley of requests would take.

        A limit that refills evenly is whole again after `reset` seconds, so that limit / reset is
        its pace when nothing is left; a limit that refills at once answers with 429 and a time.
        """
        learnt = None
        if heard.left is not None and heard.limit and heard.reset and heard.left < each * volley:
            learnt = heard.limit / heard.reset
            self._free_at = max(self._free_at, now - (heard.left - each) / learnt)
        known = [rate for rate in (self._own, learnt) if rate]
        self.per_second = min(known) if known else None


class Pace:
    """One for a run; every worker asks it before it sends.

    Args:
        most: requests under way at most.
        requests_per_minute, tokens_per_minute: the user's limits, if any.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        first_pause: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.window = float(most)
        self.in_flight = 0
        self.resume_at = 0.0
        self.requests = Rate(requests_per_minute)
        self.tokens = Rate(tokens_per_minute)
        self._target = float(most)
        self._first_pause = FIRST_PAUSE if first_pause is None else first_pause
        self._clock = clock
        self._random = random.Random(0)
        self._shrunk_at = 0.0
        self._refusals = 0
        self._opened = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)

    @property
    def beside(self) -> int:
        """Requests that may stand ready, to go as soon as one that is under way ends."""
        return int(self.window) // BESIDE

    def wait(self) -> float | None:
        """Seconds until a request may be sent; 0 now, None when another one has ended."""
        now = self._clock()
        paused = max(self.resume_at - now, self.requests.wait(now), self.tokens.wait(now), 0.0)
        if paused:
            return paused
        return None if self.in_flight >= max(1, int(self.window)) else 0.0

    def begin(self, tokens: int) -> float:
        """A request of about so many tokens is sent. Returns the time."""
        now = self._clock()
        self.in_flight += 1
        self.requests.take(1, now)
        self.tokens.take(tokens, now)
        return now

    def end(self, tokens_too_many: int = 0) -> None:
        """A request is over; so many tokens fewer than announced were used."""
        self.in_flight -= 1
        self.tokens.take(-tokens_too_many, self._clock())

    def answered(self, sent: float) -> None:
        """An answer came: open up.

        What was sent before the window narrowed says nothing of how things are since.
        """
        self._recent.append(True)
        if sent < self._shrunk_at:
            return
        self._refusals = self._opened = 0
        step = 1.0 if self.window < self._target else 1.0 / self.window
        self.window = min(self.most, self.window + step)

    def refused(self, sent: float, retry_after: float | None) -> None:
        """A rate limit: everyone pauses. Refusals of one volley narrow the window once."""
        if sent >= self._shrunk_at:
            self._refusals += 1
            self._shrink()
        pause = self.backoff(self._refusals + 1) if retry_after is None else retry_after
        self.hold(pause)

    def failed(self, retry_after: float | None) -> bool:
        """Another failure that will pass. Returns whether so many have failed that all pause."""
        self._recent.append(False)
        if retry_after is not None:
            self.hold(retry_after)
        if self._recent.count(False) <= WINDOW // 2:
            return False
        self._recent.clear()
        self._opened += 1
        self._shrink()
        self.hold(min(LONGEST_PAUSE, self._first_pause * 2 ** (self._opened + 2)))
        return True

    def heard(self, limits: RateLimits, tokens: int) -> None:
        """Learn from what the endpoint says of its limits; a request takes about `tokens`."""
        now = self._clock()
        self.requests.learn(limits.requests, 1, self.window + 1, now)
        self.tokens.learn(limits.tokens, tokens, self.window + 1, now)

    def hold(self, seconds: float) -> None:
        """Nobody sends for so long."""
        self.resume_at = max(self.resume_at, self._clock() + seconds)

    def backoff(self, tries: int) -> float:
        """Seconds before another try: full jitter, uniform up to an exponentially growing cap."""
        return self._random.uniform(0, min(LONGEST_PAUSE, self._first_pause * 2**tries))

    def _shrink(self) -> None:
        self._target = max(1.0, self.window / 2)
        self.window = 1.0
        self._shrunk_at = self._clock()
