"""Pace, budget and prices, with a clock of their own."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiatkit.errors import CapReachedError
from fiatkit.models.providers._limits import rate_limits
from fiatkit.reasoning.budget import Budget
from fiatkit.reasoning.limiter import Pace
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price, pricing
from fiatkit.records import Message, ModelIdentity, RateLimit, RateLimits, Request, Sampling, Usage

REMOTE = ModelIdentity("openai_compatible", "https://llm.invalid/v1", "m", "")
REQUEST = Request((Message("user", "x" * 100),), Sampling(max_tokens=10))


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sent_within(pace: Pace, clock: Clock, seconds: float, tokens: int = 1) -> int:
    """How many requests, answered at once, go out in so many seconds."""
    end, count = clock.now + seconds, 0
    while clock.now < end:
        wait = pace.wait()
        assert wait is not None
        if wait:
            clock.now += wait
            continue
        began = pace.begin(tokens)
        pace.end()
        pace.answered(began)
        count += 1
        clock.now += 0.001
    return count


def test_requests_a_minute_are_kept_from_the_first_one_on(clock: Clock) -> None:
    pace = Pace(8, 120, clock=clock)
    assert 120 <= sent_within(pace, clock, 60) <= 120 + 4


def test_tokens_a_minute_are_kept_and_what_was_not_used_is_given_back(clock: Clock) -> None:
    pace = Pace(8, None, 6000, clock=clock)
    assert 60 <= sent_within(pace, clock, 60, tokens=100) <= 64
    pace = Pace(8, None, 6000, clock=clock)
    for _ in range(50):
        while wait := pace.wait():
            clock.now += wait
        pace.begin(1000)
        pace.end(900)
    assert pace.tokens.wait(clock.now) < 2


def test_a_rate_limit_halves_what_slow_start_may_reach_and_one_volley_counts_once(
    clock: Clock,
) -> None:
    pace = Pace(16, clock=clock)
    volley = [pace.begin(1) for _ in range(16)]
    clock.now = 1.0
    for began in volley:
        pace.end()
        pace.refused(began, 7.0)
    assert pace.wait() == 7.0
    clock.now = 8.0
    windows = []
    for _ in range(60):
        began = [pace.begin(1) for _ in range(int(pace.window)) if pace.wait() == 0]
        windows.append(len(began))
        clock.now += 1
        for one in began:
            pace.answered(one)
            pace.end()
    assert windows[:4] == [1, 2, 4, 8]
    steps = [later - earlier for earlier, later in itertools.pairwise(windows[3:])]
    assert set(steps) == {0, 1}, "from half of what was refused on, at most one more a round"
    assert windows[-1] == 16


def test_the_circuit_opens_longer_each_time_and_closes_with_an_answer(clock: Clock) -> None:
    pace = Pace(4, first_pause=1.0, clock=clock)
    holds = []
    for _ in range(3):
        opened = [pace.failed(None) for _ in range(26)]
        assert opened == [False] * 25 + [True]
        holds.append(pace.resume_at - clock.now)
        clock.now = pace.resume_at
    assert holds == [8, 16, 32]
    pace.answered(clock.now)
    assert not any(pace.failed(None) for _ in range(25))
    assert pace.failed(None)
    assert pace.resume_at - clock.now == 8


@given(st.integers(1, 40))
def test_backoff_is_jittered_and_capped(tries: int) -> None:
    pace = Pace(1, first_pause=0.5)
    waits = [pace.backoff(tries) for _ in range(50)]
    assert all(0 <= wait <= min(60, 0.5 * 2**tries) for wait in waits)
    assert len(set(waits)) > 40


def test_plenty_left_is_no_reason_to_be_slow(clock: Clock) -> None:
    pace = Pace(8, clock=clock)
    plenty = RateLimits(RateLimit(500, 400, 12), RateLimit(100_000, 90_000, 6))
    pace.heard(plenty, 100)
    assert (pace.requests.per_second, pace.tokens.per_second) == (None, None)
    pace.heard(RateLimits(RateLimit(60, 0, 60), RateLimit()), 100)
    assert pace.requests.per_second == 1
    assert pace.wait() == 1.0


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1m6.5s",
                "x-ratelimit-limit-tokens": "1000",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "20ms",
            },
            RateLimits(RateLimit(60, 59, 66.5), RateLimit(1000, 0, 0.02)),
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "1",
                "anthropic-ratelimit-requests-reset": "1970-01-01T00:02:00Z",
            },
            RateLimits(RateLimit(50, 1, 20), RateLimit()),
        ),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-limit-tokens": "nan", "content-type": "x"}, None),
        ({}, None),
    ],
)
def test_what_endpoints_say_of_their_limits(
    headers: dict[str, str], found: RateLimits | None
) -> None:
    assert rate_limits(headers, now=100.0) == found


def test_prices_are_exact_and_cached_tokens_cheaper() -> None:
    price = Price(prompt=Decimal("0.15"), completion=Decimal("0.6"), cached=Decimal("0.075"))
    assert price.of(Usage(1000, 100, 400)) == Decimal("0.00018")
    assert price.of(Usage(1000, None, 400)) is None
    assert price.of(Usage(10, 0, 99)) == Decimal("0.00000075"), "no more is cached than was read"


def test_own_prices_win_then_the_list_and_an_unknown_one_is_none() -> None:
    pytest.importorskip("genai_prices")
    listed = ModelIdentity("openai_compatible", "https://api.openai.com/v1", "gpt-4o-mini", "")
    usage = Usage(1_000_000, 1_000_000, 500_000)
    price = pricing(listed, {})
    assert price is not None and price(usage) == Decimal("0.7125")
    own = pricing(listed, {"gpt-4o-mini": Price(prompt=Decimal(1), completion=Decimal(1))})
    assert own is not None and own(usage) == 2
    assert pricing(REMOTE, {}) is None
    free = pricing(ModelIdentity("llama_cpp", "", "m", "sum"), {})
    assert free is not None and free(usage) == 0


def budget(cap: str) -> Budget:
    price = Price(prompt=Decimal(1000), completion=Decimal(1000))
    return Budget(Policy(max_cost=Decimal(cap)), price.of, REMOTE)


def test_what_is_under_way_is_waited_for_before_a_cap_is_called_reached() -> None:
    found = budget("0.3")
    worst = found.worst(REQUEST)
    assert worst == Decimal("0.118"), "100 bytes, 8 of the template, 10 to be written"
    for _ in range(2):
        assert found.room(worst)
        found.reserve(worst)
    assert not found.room(worst), "it may fit, once the others are known"
    found.settle(worst, Usage(20, 5))
    assert found.room(worst)
    found.reserve(worst)
    found.settle(worst, None, possibly_billed=True)
    assert found.unknown == 1
    with pytest.raises(CapReachedError, match="possibly billed"):
        found.settle(worst, Usage(100, 10))
        found.room(worst)


def test_estimates_follow_what_answers_told() -> None:
    found = budget("1")
    assert found.prompt_tokens(REQUEST) == 108
    found.learn(REQUEST, Usage(33, 40))
    assert found.prompt_tokens(REQUEST) == 33
    assert found.worst(REQUEST) == Decimal("0.073"), (
        "the longest answer counts, if longer than asked"
    )
