"""Tokens wait for those of the next call, and what somebody waits for goes at once."""

import pytest

from headrace.engine.hold import Hold
from headrace.engine.messages import Accepted, Failed, FromEngine, Stats, Tokens


def tokens(*, completion_s: float = 0.01, finish: str | None = None) -> Tokens:
    return Tokens(
        id="a",
        token_ids=(1,),
        cached_tokens=0,
        finish=finish,
        queue_s=0.0,
        prompt_s=0.0,
        completion_s=completion_s,
    )


def sent_after(call_s: float, calls: int) -> list[int]:
    """The calls, of `call_s` seconds each and one after the other, after which all is sent."""
    hold = Hold(longest_s=2.0)
    return [
        call
        for call in range(calls)
        if not hold.may_wait([tokens()], call * call_s, (call + 1) * call_s)
    ]


@pytest.mark.parametrize(
    ("call_s", "expected"),
    [
        (0.5, [4, 9]),  # four calls after the first are two seconds
        (0.75, [2, 5, 8, 11]),  # a third would end too late
        (1.25, [1, 3, 5, 7, 9, 11]),
        (2.25, list(range(12))),
        (30.0, list(range(12))),
    ],
)
def test_a_frame_holds_the_calls_that_fit_its_time(call_s: float, expected: list[int]) -> None:
    assert sent_after(call_s, 12) == expected


@pytest.mark.parametrize(
    "message",
    [
        tokens(completion_s=0.0),  # the first of its stream
        tokens(finish="stop"),
        Accepted(id="a"),
        Failed(id="a", error="QueueFull", message=""),
    ],
)
def test_what_somebody_waits_for_goes_at_once_and_takes_the_rest_along(message: FromEngine) -> None:
    hold = Hold(longest_s=2.0)
    assert hold.may_wait([tokens(), Stats(steps=1)], 0.0, 0.1)
    assert not hold.may_wait([tokens(), message], 0.1, 0.2)
    assert hold.may_wait([tokens()], 1.9, 2.0), "a new frame has its own time"


def test_what_was_sent_otherwise_gives_the_next_frame_its_own_time() -> None:
    hold = Hold(longest_s=2.0)
    assert hold.may_wait([tokens()], 0.0, 1.5)
    hold.clear()
    assert hold.may_wait([tokens()], 1.5, 3.0)
    assert not hold.may_wait([tokens()], 3.0, 4.5)
