"""The seam: messages in, messages out, one wake for many."""

import threading

from headrace.backends.null import NullBackend
from headrace.clock import SystemClock
from headrace.engine import Engine, EngineThread
from headrace.engine.messages import Cancel, Submit, ToFront, Tokens
from tests.engine.test_engine import submit
from tests.tiny_llama import tiny_program


def run_through_thread(asked: list[Submit | Cancel], wanted_endings: int) -> list[ToFront]:
    engine = Engine(
        NullBackend(tiny_program(), num_blocks=64),
        SystemClock(),
        max_sequences=4,
        max_step_tokens=64,
        max_waiting=10,
    )
    woken = threading.Semaphore(0)
    thread = EngineThread(engine, woken.release)
    thread.start()
    for message in asked:
        thread.send(message)
    received: list[ToFront] = []
    while sum(isinstance(m, Tokens) and m.finish is not None for m in received) < wanted_endings:
        assert woken.acquire(timeout=10)
        received += thread.receive()
    thread.stop()
    assert not thread.is_alive
    assert engine.is_idle
    engine.check_integrity()
    return received


def test_every_token_arrives_once_and_in_order() -> None:
    received = run_through_thread([submit(str(i), (i,), 40) for i in range(6)], 6)
    for i in range(6):
        tokens = [
            t for m in received if isinstance(m, Tokens) and m.id == str(i) for t in m.token_ids
        ]
        assert tokens == [i + 1 + j for j in range(40)]


def test_an_idle_thread_wakes_for_new_work() -> None:
    received = run_through_thread([Cancel(id="none"), submit("a", (1,), 2)], 1)
    assert isinstance(received[-1], Tokens)
