"""What takes too long ends with an error, waiting or running, and frees all it had."""

import logging

import pytest

from headrace.backends.null import NullBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.messages import Accepted, Failed, Tokens, error_of, failure
from headrace.errors import DeadlineExceeded, QueueFull
from tests.engine.test_engine import submit
from tests.tiny_llama import tiny_program


def engine_and_clock() -> tuple[Engine, ManualClock]:
    clock = ManualClock()
    backend = NullBackend(tiny_program(), num_blocks=16)
    engine = Engine(backend, clock, max_sequences=1, max_step_tokens=32, max_waiting=10)
    return engine, clock


def test_a_running_and_a_waiting_sequence_end_at_their_deadlines() -> None:
    engine, clock = engine_and_clock()
    engine.handle(submit("runs", (1,), 100, deadline_s=3.0))
    engine.handle(submit("waits", (2,), 100, deadline_s=2.0))
    engine.handle(submit("patient", (3,), 2))
    assert engine.next_deadline_s == 2.0
    engine.step()
    clock.advance(2.0)
    ended, token = engine.step()
    assert isinstance(ended, Failed)
    assert (ended.id, ended.error) == ("waits", "DeadlineExceeded")
    assert "2 s" in ended.message
    assert isinstance(token, Tokens)
    assert engine.next_deadline_s == 3.0
    clock.advance(1.0)
    ended, token = engine.step()
    assert isinstance(ended, Failed)
    assert ended.id == "runs"
    assert isinstance(token, Tokens)
    assert token.id == "patient", "the slot is free in the same step"
    engine.step()
    assert engine.is_idle
    engine.check_integrity()


def test_a_refusal_keeps_its_time_over_the_seam() -> None:
    error = error_of(failure("x", QueueFull("full", retry_after_s=17)))
    assert isinstance(error, QueueFull)
    assert error.retry_after_s == 17
    assert isinstance(error_of(failure("x", DeadlineExceeded("over"))), DeadlineExceeded)


def test_a_deadline_of_nothing_is_refused() -> None:
    engine, _ = engine_and_clock()
    (answer,) = engine.handle(submit("x", (1,), 1, deadline_s=0.0))
    assert isinstance(answer, Failed)
    assert answer.error == "InvalidRequest"


def test_lost_blocks_are_noticed_when_the_work_is_done(caplog: pytest.LogCaptureFixture) -> None:
    engine, clock = engine_and_clock()
    engine.handle(submit("a", (1,), 2))
    engine.step()
    lost: list[int] = []
    assert engine._pool.grow(lost, 16)
    with caplog.at_level(logging.ERROR):
        engine.step()
    assert "lost or doubled" in caplog.text
    engine.check_integrity()
    clock.advance(2.0)
    assert engine.handle(submit("b", tuple(range(100)), 100)) == [Accepted(id="b")]
    while not engine.is_idle:
        engine.step()
    engine.check_integrity()


def test_after_a_failure_of_the_engine_itself_every_block_is_free() -> None:
    engine, _ = engine_and_clock()
    for name in "abc":
        engine.handle(submit(name, (1, 2, 3), 50))
    engine.step()
    failed = engine.fail_all(KeyError("oops"))
    assert [(m.id, m.error) for m in failed if isinstance(m, Failed)] == [
        (name, "EngineError") for name in "abc"
    ]
    assert engine.is_idle
    engine.check_integrity()
