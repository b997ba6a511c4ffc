"""Buckets and days against a history that is counted anew each time."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.windows import NANO, Bucket, Calendar, Day

MINUTE = 60 * NANO
STEPS = st.lists(st.tuples(st.integers(0, 30 * NANO), st.integers(0, 50)), max_size=60)


@given(STEPS, st.integers(1, 100))
def test_a_bucket_is_a_level_that_falls_evenly(steps: list[tuple[int, int]], limit: int) -> None:
    """Against exact fractions: the level falls by limit units a minute, never below zero."""
    bucket, level, now = Bucket(limit, MINUTE, 0), Fraction(0), 0
    for passed, cost in steps:
        now += passed
        level = max(Fraction(0), level - Fraction(passed * limit, MINUTE))
        assert bucket.used(now) == -(-level // 1)
        reset = Fraction(bucket.standing(now)[1] * limit, MINUTE)
        assert bucket.standing(now)[0] == bucket.used(now)
        assert level <= reset < level + Fraction(limit, MINUTE), "to the nanosecond"
        cost = min(cost, limit)
        wait = bucket.wait_ns(cost, now)
        assert (wait == 0) == (level + cost <= limit)
        before = bucket.standing(now)
        assert bucket.enter(cost, now) == (wait == 0)
        if not wait:
            bucket.take(-cost, now)
        assert bucket.standing(now) == before, "what does not fit takes nothing"
        if wait:  # to the nanosecond
            assert level - Fraction(wait * limit, MINUTE) + cost <= limit
            assert level - Fraction((wait - 1) * limit, MINUTE) + cost > limit
        else:
            bucket.take(cost, now)
            level += cost


@given(STEPS, st.integers(1, 100))
def test_in_any_minute_no_more_than_the_limit_and_one_burst(
    steps: list[tuple[int, int]], limit: int
) -> None:
    bucket, now, taken = Bucket(limit, MINUTE, 0), 0, list[tuple[int, int]]()
    for passed, cost in steps:
        now += passed
        if cost <= limit and not bucket.wait_ns(cost, now):
            bucket.take(cost, now)
            taken.append((now, cost))
        in_window = sum(c for at, c in taken if now - at < MINUTE)
        assert in_window <= 2 * limit


def test_what_runs_may_overdraw_and_delays_the_next() -> None:
    bucket = Bucket(60, MINUTE, 0)
    bucket.take(150, 0)
    assert bucket.used(0) == 150
    assert bucket.wait_ns(1, 0) == 91 * NANO
    assert bucket.standing(0) == (150, 150 * NANO)
    bucket.take(-140, 0)
    assert bucket.wait_ns(50, 0) == 0
    bucket.take(-999, 0)
    assert bucket.used(0) == 0, "no more comes back than was used"


def test_a_limit_of_nothing_lets_nothing_pass() -> None:
    assert Bucket(0, MINUTE, 0).wait_ns(0, 0) > 10**18
    assert Bucket(0, MINUTE, 0).standing(0) == (0, 0)
    assert not Bucket(0, MINUTE, 0).enter(0, 0)
    assert not Day(0, lambda now: now + 1, 0).enter(0, 0)


def test_what_is_larger_than_the_limit_enters_what_is_empty() -> None:
    for window in (Bucket(60, MINUTE, 0), Day(60, lambda now: now + MINUTE, 0)):
        assert window.enter(90, 0)
        assert window.used(0) == 90
        assert not window.enter(1, 0)


def calendar(zone: str, at: datetime) -> Calendar:
    return Calendar(ZoneInfo(zone), unix_s=at.timestamp(), now_ns=0)


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("UTC", datetime(2026, 11, 26, 0, 0, tzinfo=UTC), 24),
        ("UTC", datetime(2026, 11, 26, 23, 0, tzinfo=UTC), 1),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC), 23),  # clocks go forward
        ("Europe/Berlin", datetime(2026, 10, 24, 22, 0, tzinfo=UTC), 25),  # and back
        ("Asia/Kathmandu", datetime(2026, 11, 26, 18, 15, tzinfo=UTC), 24),
        ("America/Santiago", datetime(2026, 9, 5, 4, 0, tzinfo=UTC), 24),  # midnight is skipped
    ],
)
def test_a_day_ends_at_midnight_of_its_zone(zone: str, at: datetime, hours: int) -> None:
    assert calendar(zone, at).day_end_ns(0) == pytest.approx(hours * 3_600 * NANO, abs=NANO)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"])
def test_a_day_turns_once_a_day_for_a_year(zone: str) -> None:
    at = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    day = Day(10, calendar(zone, at).day_end_ns, 0)
    turned, before, now = list[datetime](), 0, 0
    while now < 366 * 86_400 * NANO:
        day.take(1, now)
        if day.used(now) <= before:
            turned.append((at + timedelta(seconds=now / NANO)).astimezone(ZoneInfo(zone)))
        before = day.used(now)
        now += 1_800 * NANO
    dates = [each.date() for each in turned]
    assert len(set(dates)) == len(dates) >= 365
    assert all(each.hour <= 1 for each in turned)


def test_what_was_taken_yesterday_is_not_given_back_today() -> None:
    day = Day(10, lambda now: (now // 100 + 1) * 100, 0)
    day.take(8, 50)
    assert day.wait_ns(5, 60) == 40
    assert day.wait_ns(5, 100) == 0
    day.take(-8, 101)
    assert day.used(101) == 0
    day.take(3, 102)
    assert day.standing(102) == (day.used(102), 98) == (3, 98)
