import pytest

from headrace.accounts.throttle import Throttle
from headrace.clock import ManualClock
from headrace.errors import TooManyAttempts


def taken(throttle: Throttle, name: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            throttle.take(name)
        except TooManyAttempts:
            continue
        count += 1
    return count


def test_ten_attempts_a_minute_come_through():
    clock = ManualClock()
    throttle = Throttle(clock)
    assert taken(throttle, "a", 30) == 10
    clock.advance(30)
    assert taken(throttle, "a", 30) == 5
    clock.advance(3_600)
    assert taken(throttle, "a", 30) == 10


def test_who_waits_as_told_is_let_through():
    clock = ManualClock()
    throttle = Throttle(clock)
    taken(throttle, "a", 10)
    for _ in range(50):
        with pytest.raises(TooManyAttempts) as refused:
            throttle.take("a")
        clock.advance(refused.value.retry_after_s)
        throttle.take("a")


def test_of_two_names_both_are_taken_or_none():
    throttle = Throttle(ManualClock())
    taken(throttle, "a", 10)
    for _ in range(20):
        with pytest.raises(TooManyAttempts):
            throttle.take("a", "b")
    assert taken(throttle, "b", 20) == 10


def test_what_is_given_back_was_none():
    throttle = Throttle(ManualClock())
    for _ in range(30):
        throttle.take("a")
        throttle.give_back("a")
    assert len(throttle) == 0


@pytest.mark.guards("D38")
def test_any_number_of_names_takes_the_same_memory():
    throttle = Throttle(ManualClock(), max_names=100)
    for number in range(10_000):
        throttle.take(f"name {number}" * 10)
    assert len(throttle) == 100
    assert taken(throttle, "name 9999" * 10, 20) == 9, "the newest are remembered"
