"""Buffering, steady windows and throughput, against cases worked by hand."""

import pytest

from headrace.bench.client import Answer, Piece
from headrace.bench.metrics import (
    Attempt,
    first_sentence_s,
    is_buffered,
    steady_window,
    throughput,
)
from headrace.bench.scenarios import Outcome


def answer(*times: float, text: str = "a", start_s: float = 0.0) -> Answer:
    pieces = tuple(Piece(at_s=t, text=text, tokens=1.0, is_answer=True) for t in times)
    return Answer(start_s=start_s, sent_s=start_s, ended_s=times[-1], status=200, pieces=pieces)


def attempt(start_s: float, end_s: float, *times: float) -> Attempt:
    return Attempt(
        endpoint="e", scenario="s", task=f"{start_s}", stage="100%", start_s=start_s, end_s=end_s,
        answers=(answer(*(times or (end_s,)), start_s=start_s),), outcome=Outcome.PASSED,
    )  # fmt: skip


def test_bursts_after_silence_are_buffering() -> None:
    burst = [b * 0.5 + i * 1e-5 for b in range(1, 5) for i in range(20)]
    assert is_buffered(answer(*burst))


def test_an_even_stream_is_not_buffered_nor_is_one_slow_gap() -> None:
    assert not is_buffered(answer(*(0.01 * i for i in range(1, 80))))
    assert not is_buffered(
        answer(*(0.01 * i for i in range(1, 40)), *(2 + 0.01 * i for i in range(40)))
    )


def test_throughput_counts_arrivals_in_the_window_not_requests() -> None:
    # Ten tokens a second from 0 to 10 s in one answer that ends outside the window.
    stream = answer(*(0.05 + 0.1 * i for i in range(100)))
    assert throughput([stream], (2.0, 6.0)) == pytest.approx(10.0)
    assert throughput([stream], (6.0, 6.0)) is None


def test_the_window_begins_when_rates_settle() -> None:
    # A request each 0.5 s that takes 1 s, from the start: running settles at 2 after a second.
    attempts = [attempt(0.5 * i, 0.5 * i + 1.0) for i in range(80)]
    window = steady_window(attempts)
    assert window.is_steady
    assert 10.0 <= window.begin_s <= 13.0
    assert window.end_s == 39.5


def test_a_queue_that_grows_without_end_is_never_steady() -> None:
    # Twice as many arrive as can be served: the k-th ends at k + 1 s.
    attempts = [attempt(0.5 * i, i + 1.0) for i in range(30)]
    assert not steady_window(attempts).is_steady


def test_twenty_requests_end_a_warm_up_before_ten_seconds() -> None:
    attempts = [attempt(0.05 * i, 0.05 * i + 0.1) for i in range(160)]
    assert steady_window(attempts).begin_s < 10.0


def test_the_first_sentence_ends_with_a_stop_and_a_space() -> None:
    pieces = [(1.0, "It costs 3."), (2.0, "5 crowns."), (3.0, " Anything else?")]
    spoken = Answer(
        start_s=0.5, sent_s=0.5, ended_s=3.0, status=200,
        pieces=tuple(Piece(at_s=t, text=x, tokens=1, is_answer=True) for t, x in pieces),
    )  # fmt: skip
    assert first_sentence_s(spoken) == pytest.approx(2.5)


def test_a_new_line_ends_a_sentence_too() -> None:
    assert first_sentence_s(answer(1.0, 2.0, text="Yes.\nAnd then")) == pytest.approx(1.0)
    assert first_sentence_s(answer(1.0, 2.0, text="- a list\n- of")) == pytest.approx(1.0)


def test_an_answer_of_one_sentence_is_whole_at_its_end() -> None:
    assert first_sentence_s(answer(1.0, 2.0, text="no stop")) == pytest.approx(2.0)
    assert first_sentence_s(Answer(start_s=0, sent_s=0, ended_s=1)) is None
