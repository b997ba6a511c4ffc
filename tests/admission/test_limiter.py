"""The limiter against a simulation: what passes, what is refused, and for how long."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from headrace.admission import Ask, Hold, Limiter, Limits, Outputs
from headrace.clock import ManualClock
from headrace.errors import RateLimited, RequestTooLarge

FREE = Limits(requests_per_minute=30, tokens_per_minute=60_000, tokens_per_day=1_000_000)


def ask(limits: Limits = FREE, tokens: int = 100, **changes: Any) -> Ask:
    plain = Ask(
        organisation_id="org",
        key_id="key",
        model="m",
        of_organisation=limits,
        of_key=Limits(),
        prompt_tokens=tokens,
        output_tokens=0,
    )
    return structs.replace(plain, **changes)


def refusal(limiter: Limiter, asked: Ask) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        limiter.reserve(asked)
    return caught.value


@pytest.mark.parametrize("seed", range(20))
def test_steady_demand_gets_all_of_the_limit_and_no_more(seed: int) -> None:
    """Requests of random size come faster than the limit: 99 % of it is used, in any minute at
    most the limit and one burst, and what is left is never negative."""
    rng = random.Random(seed)
    limit = rng.choice([1_000, 20_000, 60_000])
    limits = Limits(tokens_per_minute=limit)
    clock, passed = ManualClock(), list[tuple[float, int]]()
    limiter = Limiter(clock)
    for _ in range(4_000):
        clock.advance(rng.expovariate(1 / 0.2))
        tokens = rng.randint(1, limit // 50)
        asked = ask(limits, tokens)
        try:
            hold = limiter.reserve(asked)
        except RateLimited:
            pass
        else:
            hold.settle(tokens)
            passed.append((clock.now_s(), tokens))
        assert all(standing.remaining >= 0 for standing in limiter.standings(asked))
    whole = sum(tokens for _, tokens in passed)
    available = limit + limit * clock.now_s() / 60
    assert whole <= available
    demand_is_enough = 4_000 * (limit // 100) > 1.3 * available
    assert demand_is_enough
    assert whole >= 0.99 * available - limit // 50
    sums = [0, *itertools.accumulate(tokens for _, tokens in passed)]
    start = 0
    for end, (at, _) in enumerate(passed):
        while at - passed[start][0] >= 60:
            start += 1
        assert sums[end + 1] - sums[start] <= 2 * limit


@pytest.mark.parametrize("seed", range(10))
def test_who_waits_as_long_as_told_gets_in(seed: int) -> None:
    """One client among others that run and overdraw: it succeeds after `retry_after` in 99 %."""
    rng = random.Random(seed)
    clock = ManualClock()
    limiter = Limiter(clock)
    told = succeeded = 0
    for _ in range(2_000):
        clock.advance(rng.random())
        asked = ask(tokens=rng.randint(100, 20_000))
        try:
            limiter.reserve(asked).settle(asked.prompt_tokens)
            continue
        except RateLimited as exc:
            if exc.wait_s > 3_600:
                clock.advance(exc.wait_s)
                continue
            told += 1
            clock.advance(exc.retry_after_s)
        try:
            limiter.reserve(asked).settle(asked.prompt_tokens)
            succeeded += 1
        except RateLimited:
            pass
    assert told > 100
    assert succeeded == told, "alone, it always does"


def test_all_limits_or_none() -> None:
    limiter = Limiter(ManualClock())
    tight = Limits(requests_per_minute=10, tokens_per_minute=100)
    limiter.reserve(ask(tight, 80))
    before = limiter.standings(ask(tight))
    for _ in range(50):
        refusal(limiter, ask(tight, 50))
    assert limiter.standings(ask(tight)) == before, "a refusal costs nothing"


def test_what_was_not_used_comes_back_and_what_was_more_is_owed() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(tokens_per_minute=1_000)

    def used() -> int:
        return limiter.standings(ask(limits))[0].used

    hold = limiter.reserve(ask(limits, 100, output_tokens=500))
    assert used() == 600
    hold.count(100)
    hold.count(20)
    assert used() == 600, "within what is reserved"
    hold.settle()
    assert used() == 120
    hold.settle()
    assert used() == 120, "once"
    hold = limiter.reserve(ask(limits, 100))
    hold.count(1_500)
    assert 1_620 <= used() < 1_620 + 64, "what outgrows it is taken at once, a little ahead"
    hold.count(1)
    assert used() < 1_620 + 64
    assert limiter.standings(ask(limits))[0].remaining == 0
    hold.settle(1_500)
    assert used() == 1_620
    assert refusal(limiter, ask(limits, 1)).wait_s == pytest.approx(621 / 1_000 * 60, rel=1e-6)


def test_a_long_bound_on_the_answer_reserves_no_more_than_answers_take() -> None:
    outputs = Outputs()
    assert outputs.expected("k", "m", 100_000) == 256
    assert outputs.expected("k", "m", 40) == 40
    for tokens in range(1_000, 1_100):
        outputs.add("k", "m", tokens)
    assert outputs.expected("k", "m", 100_000) == 1_094
    assert outputs.expected("k", "other", 100_000) == 256
    for _ in range(200):
        outputs.add("k", "m", 5)
    assert outputs.expected("k", "m", 100_000) == 256, "old answers are forgotten"


def test_a_request_whose_likely_output_is_over_the_limit_still_runs() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(tokens_per_minute=1_000)
    assert limiter.reserve(ask(limits, 900, output_tokens=5_000)).reserved == 1_000


def test_a_prompt_that_can_never_pass_is_too_large_and_not_too_early() -> None:
    limiter = Limiter(ManualClock())
    with pytest.raises(RequestTooLarge, match=r"1,001 tokens.*limit is 1,000"):
        limiter.reserve(ask(Limits(tokens_per_minute=1_000), 1_001))


def test_a_key_has_limits_below_its_organisation() -> None:
    limiter = Limiter(ManualClock())
    key = Limits(requests_per_minute=2)
    asked = ask(of_key=key)
    for _ in range(2):
        limiter.reserve(asked)
    found = refusal(limiter, asked)
    assert "The key's limit is 2: 2 used, 1 requested; try again in 30 s." in str(found)
    limiter.reserve(structs.replace(asked, key_id="another"))
    standing = {s.name: s for s in limiter.standings(asked)}
    assert standing["requests-minute"].whose == "key", "of two the one with less left is shown"
    assert standing["tokens-minute"].whose == "organisation"


def test_running_requests_have_a_limit_that_ends_with_them() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(concurrent_requests=2)
    first, _ = limiter.reserve(ask(limits)), limiter.reserve(ask(limits))
    assert refusal(limiter, ask(limits)).code == "request_quota_exceeded"
    first.settle()
    limiter.reserve(ask(limits))


def test_queued_requests_have_a_limit_that_ends_when_their_answers_begin() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(concurrent_requests=4, queued_requests=2)
    first, second = limiter.reserve(ask(limits)), limiter.reserve(ask(limits))
    assert refusal(limiter, ask(limits)).facts["bucket"] == "queued requests"
    first.start()
    first.start()
    third = limiter.reserve(ask(limits))
    assert refusal(limiter, ask(limits)).facts["used"] == 2
    second.settle()  # ended before it began
    third.start()
    first.settle()
    third.settle()
    holds = [limiter.reserve(ask(limits)) for _ in range(2)]
    assert refusal(limiter, ask(limits)).facts["bucket"] == "queued requests"
    assert len(holds) == 2


def test_uncached_tokens_are_settled_apart() -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    limits = Limits(tokens_per_minute=3_000, uncached_tokens_per_minute=1_000)
    limiter.reserve(ask(limits, 900)).settle(900, 100)
    used = {standing.name: standing.used for standing in limiter.standings(ask(limits))}
    assert used == {"tokens-minute": 900, "tokens-minute-uncached": 100}
    limiter.reserve(ask(limits, 900)).settle(900, 900)
    found = refusal(limiter, ask(limits, 900))
    assert (found.code, found.facts["bucket"]) == (
        "token_quota_exceeded",
        "uncached tokens per minute",
    )


def test_another_limit_is_in_force_at_once() -> None:
    limiter = Limiter(ManualClock())
    for _ in range(30):
        limiter.reserve(ask(tokens=1))
    refusal(limiter, ask(tokens=1))
    more = replace(FREE, requests_per_minute=1_000)
    limiter.reserve(ask(more, 1))
    fewer = replace(FREE, requests_per_minute=3)
    assert "limit is 3: 6 used" in str(refusal(limiter, ask(fewer, 1))), "two minutes at most"


def test_the_error_names_bucket_limit_used_requested_and_wait() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(tokens_per_minute=1_000)
    limiter.reserve(ask(limits, 900))
    found = refusal(limiter, ask(limits, 200))
    assert (found.kind, found.code) == ("too_many_tokens_error", "token_quota_exceeded")
    assert str(found) == (
        "Tokens per minute limit exceeded - too many tokens. The organisation's limit is 1,000: "
        "900 used, 200 requested; try again in 6 s."
    )
    assert found.retry_after_s == 6


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 400), st.booleans()), max_size=40))
def test_holds_of_any_order_leave_nothing_behind(steps: list[tuple[int, int, bool]]) -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    limits = Limits(tokens_per_minute=2_000, tokens_per_day=10_000, concurrent_requests=5)
    running, charged = list[Hold](), 0
    for which, tokens, ends in steps:
        if ends and running:
            hold = running.pop(which % len(running))
            hold.count(tokens)
            hold.settle()
            charged += hold.used
        else:
            try:
                running.append(limiter.reserve(ask(limits, tokens)))
            except RateLimited:
                continue
    for hold in running:
        hold.settle(0)
    day = next(s for s in limiter.standings(ask(limits)) if s.span == "day")
    assert day.used == charged
    clock.advance(86_400)
    assert {s.used for s in limiter.standings(ask(limits))} == {0}


def test_sixty_four_callers_at_once_never_pass_the_limit() -> None:
    limiter = Limiter(ManualClock())
    limits = Limits(requests_per_minute=30)
    passed = 0
    for _ in range(64):
        try:
            limiter.reserve(ask(limits))
            passed += 1
        except RateLimited:
            pass
    assert passed == 30
