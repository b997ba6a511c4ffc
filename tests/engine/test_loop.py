"""The seam: messages over a real socket, one engine loop behind it."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.clock import Clock, ManualClock, SystemClock
from headrace.engine import Engine
from headrace.engine import loop as loop_module
from headrace.engine.grammar_compiler import GrammarCompiler
from headrace.engine.loop import EngineLoop
from headrace.engine.messages import (
    Accepted,
    Cancel,
    Failed,
    FromEngine,
    Stats,
    Submit,
    ToEngine,
    ToFront,
    TokenLogprobs,
    Tokens,
)
from headrace.engine.outbox import Outbox
from headrace.engine.wire import LENGTH_BYTES, FrameReader, frame
from headrace.errors import EngineError
from tests.engine.test_engine import submit
from tests.tiny_llama import tiny_program


class Front:
    """The other end, as plain as can be."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        self._sock = sock
        self._reader = FrameReader[FromEngine](FromEngine)  # pyright: ignore[reportArgumentType]
        self.heard: list[FromEngine] = []
        self.frames = 0

    def say(self, *messages: ToEngine) -> None:
        self._sock.sendall(frame(messages))

    def hear(self, endings: int) -> None:
        """Read until so many sequences have ended and the counters say so too."""
        while not self._has(endings):
            for messages in self._reader.feed(self._sock.recv(4096)):
                self.heard += messages
                self.frames += 1

    def _has(self, endings: int) -> bool:
        tokens = sum(len(m.token_ids) for m in self.heard if isinstance(m, Tokens))
        counted = [m for m in self.heard if isinstance(m, Stats)]
        return (
            sum(map(_is_end, self.heard)) >= endings
            and bool(counted)
            and (counted[-1].running, counted[-1].waiting) == (0, 0)
            and counted[-1].output_tokens == tokens
        )

    def output(self, name: str) -> list[int]:
        mine = [m for m in self.heard if isinstance(m, Tokens) and m.id == name]
        return [t for m in mine for t in m.token_ids]


def _is_end(message: FromEngine) -> bool:
    return isinstance(message, Failed) or (isinstance(message, Tokens) and bool(message.finish))


@contextmanager
def engine_loop(
    backend: NullBackend | None = None,
    kind: type[Engine] = Engine,
    clock: Clock | None = None,
) -> Generator[tuple[Front, Engine]]:
    """A front and the engine it talks to; the loop must end with the socket."""
    clock = clock or SystemClock()
    engine = kind(
        backend or NullBackend(tiny_program(), num_blocks=64),
        clock,
        max_sequences=4,
        max_step_tokens=64,
        max_waiting=1_000,
    )
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    with theirs:
        loop = EngineLoop(engine, theirs, clock)
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        with ours:
            yield Front(ours), engine
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_every_token_arrives_once_and_in_order() -> None:
    with engine_loop() as (front, engine):
        front.say(*[submit(str(i), (i,), 40) for i in range(6)])
        front.hear(6)
    for i in range(6):
        assert front.output(str(i)) == [i + 1 + j for j in range(40)]
    assert engine.is_idle
    engine.check_integrity()
    last = [m for m in front.heard if isinstance(m, Stats)][-1]
    assert (last.prompt_tokens, last.output_tokens) == (6, 240)
    assert (last.running, last.waiting, last.free_blocks) == (0, 0, last.total_blocks)


def test_an_idle_loop_hears_new_work() -> None:
    with engine_loop() as (front, _):
        front.say(Cancel(id="none"))
        front.say(submit("a", (1,), 2))
        front.hear(1)
        front.say(submit("b", (7,), 3))
        front.hear(2)
    assert (front.output("a"), front.output("b")) == ([2, 3], [8, 9, 10])


def test_a_front_that_does_not_read_gets_fewer_larger_frames_and_every_token() -> None:
    """More than a socket holds: the engine goes on, and what it says is joined."""
    count, length = 200, 150
    is_done = threading.Event()

    class Counting(NullBackend):
        tokens = 0
        steps = 0

        def step(self, batch: Batch) -> StepResult:
            self.steps += 1
            self.tokens += len(batch.sample_rows) * batch.steps
            if self.tokens == count * length:
                is_done.set()
            return super().step(batch)

    backend = Counting(tiny_program(), num_blocks=64)
    with engine_loop(backend) as (front, _):
        front.say(*[submit(str(i), (i % 101,), length) for i in range(count)])
        assert is_done.wait(60), "the engine waited for its front"
        front.hear(count)
    for i in range(count):
        assert front.output(str(i)) == [(i + 1 + j) % 101 for j in range(length)]
    assert front.frames < backend.steps / 2


def test_tokens_of_calls_that_follow_each_other_in_a_moment_share_a_frame() -> None:
    clock = ManualClock()

    class Slow(NullBackend):
        def step(self, batch: Batch) -> StepResult:
            clock.advance(3e-4 * batch.steps)  # six steps a call, two calls a frame
            return super().step(batch)

    with engine_loop(Slow(tiny_program(), num_blocks=64), clock=clock) as (front, _):
        front.say(submit("a", (1,), 20))
        front.hear(1)
    assert front.output("a") == [2 + i for i in range(20)]
    told = [m for m in front.heard if isinstance(m, Tokens)]
    assert [len(m.token_ids) for m in told] == [1, 12, 7]


def test_what_fails_outside_the_backend_ends_the_sequences_and_not_the_loop() -> None:
    class Stumbling(Engine):
        has_stumbled = False

        def step(self) -> list[ToFront]:
            if not self.has_stumbled:
                self.has_stumbled = True
                raise ZeroDivisionError
            return super().step()

    with engine_loop(kind=Stumbling) as (front, _):
        front.say(submit("a", (1,), 2))
        front.hear(1)
        assert [m.error for m in front.heard if isinstance(m, Failed)] == ["EngineError"]
        front.say(submit("b", (1,), 2))
        front.hear(2)
    assert front.output("b") == [2, 3]


words = st.integers(0, 5).map(str)
said = st.one_of(
    st.builds(Accepted, id=words),
    st.builds(Failed, id=words, error=st.just("QueueFull"), message=st.text()),
    st.builds(
        Tokens,
        id=words,
        token_ids=st.lists(st.integers(0, 2**31 - 1), min_size=1).map(tuple),
        cached_tokens=st.integers(0, 9),
        finish=st.sampled_from([None, "stop"]),
        queue_s=st.floats(0, 9),
        prompt_s=st.floats(0, 9),
        completion_s=st.floats(0, 9),
        logprobs=st.just((TokenLogprobs(chosen=-1.5, top=((1, -0.5),)),)),
    ),
    st.builds(Stats, steps=st.integers(0, 2**40)),
)


@given(st.lists(st.lists(said)), st.lists(st.integers(1, 40)))
def test_frames_survive_any_cutting(groups: list[list[FromEngine]], cuts: list[int]) -> None:
    data = b"".join(frame(group) for group in groups)
    reader = FrameReader[FromEngine](FromEngine)  # pyright: ignore[reportArgumentType]
    got: list[list[FromEngine]] = []
    for size in cuts:
        got += reader.feed(data[:size])
        data = data[size:]
    assert got + list(reader.feed(data)) == groups


@given(st.lists(st.lists(said)))
def test_an_outbox_joins_and_loses_nothing(groups: list[list[FromEngine]]) -> None:
    outbox = Outbox()
    for group in groups:
        outbox.put(group)
    put = [message for group in groups for message in group]
    taken = outbox.take()
    assert not outbox

    def tokens(messages: list[FromEngine], name: str) -> list[int]:
        mine = [m for m in messages if isinstance(m, Tokens) and m.id == name]
        return [t for m in mine for t in m.token_ids]

    for name in map(str, range(6)):
        assert tokens(taken, name) == tokens(put, name)
        mine = [m for m in put if isinstance(m, Tokens) and m.id == name]
        joined = [m for m in taken if isinstance(m, Tokens) and m.id == name]
        assert len(joined) == bool(mine)
        if mine:
            assert len(joined[0].logprobs or ()) == len(mine)
            assert (joined[0].finish, joined[0].completion_s) == (
                mine[-1].finish,
                mine[-1].completion_s,
            )
    rest = [m for m in put if not isinstance(m, Tokens | Stats)]
    assert [m for m in taken if not isinstance(m, Tokens | Stats)] == rest
    assert [m for m in taken if isinstance(m, Stats)] == [m for m in put if isinstance(m, Stats)][
        -1:
    ]


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", (3).to_bytes(LENGTH_BYTES, "little") + b"\xc1??"]
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(EngineError, match="understand"):
        list(FrameReader(Submit).feed(data))


def test_an_idle_engine_makes_its_vocabulary_before_anybody_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_module, "PREPARE_AFTER_S", 0.0)
    made = threading.Event()

    def make() -> Any:
        made.set()
        raise RuntimeError("this one cannot be made")

    class WithGrammars(Engine):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.grammars = GrammarCompiler(make)

    with engine_loop(kind=WithGrammars) as (front, _):
        assert made.wait(10)
        front.say(submit("a", (1,), 2, grammar="start: /x/"), submit("b", (1,), 2))
        front.hear(2)
    (failed,) = (m for m in front.heard if isinstance(m, Failed))
    assert failed.id == "a"
    assert "this one cannot be made" in failed.message
