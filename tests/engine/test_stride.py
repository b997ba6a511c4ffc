"""Several steps in one call change when tokens come, and nothing else."""

from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.backends.base import Backend, BackendReport, Batch, StepResult
from headrace.backends.cpu import CpuBackend, cpu_features
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.messages import Cancel, Submit, ToFront, Tokens
from headrace.engine.stride import Stride
from headrace.model.program import Program
from tests.engine.test_engine import VOCAB, endings, output, run, submit
from tests.tiny_llama import random_weights, tiny_program

MOST = 8  # steps a call, and a millisecond: what the numbers below count with
PROGRAM = tiny_program()
WEIGHTS = random_weights(PROGRAM)


class Timed:
    """A backend each step of which takes `step_s` of `clock`; notes the steps of its calls."""

    def __init__(self, backend: Backend, clock: ManualClock, step_s: float) -> None:
        self.calls: list[int] = []
        self._backend = backend
        self.step_s = step_s
        self._clock = clock

    @property
    def program(self) -> Program:
        return self._backend.program

    @property
    def num_blocks(self) -> int:
        return self._backend.num_blocks

    def step(self, batch: Batch) -> StepResult:
        self.calls.append(batch.steps)
        self._clock.advance(self.step_s * batch.steps)
        return self._backend.step(batch)

    def report(self) -> BackendReport:
        return self._backend.report()

    def close(self) -> None:
        self._backend.close()


def timed(
    backend: Backend | None = None,
    *,
    most: int = MOST,
    step_s: float = 1e-4,
    num_blocks: int = 64,
    max_sequences: int = 4,
    has_prefix_cache: bool = True,
) -> tuple[Engine, Timed]:
    clock = ManualClock()
    timed = Timed(backend or NullBackend(PROGRAM, num_blocks=num_blocks), clock, step_s)
    engine = Engine(
        timed,
        clock,
        max_sequences=max_sequences,
        max_step_tokens=32,
        max_waiting=100,
        has_prefix_cache=has_prefix_cache,
    )
    engine.stride = Stride(most=most, longest_s=1e-3)
    return engine, timed


def test_a_stream_alone_makes_calls_of_as_many_steps_as_a_millisecond_holds() -> None:
    for step_s, calls in (
        (1e-4, [1, 8, 8, 3]),
        (3e-4, [1, 3, 3, 3, 3, 3, 3, 1]),
        (6e-4, [1] * 20),
        (1.0, [1] * 20),
        (0.0, [1] * 20),  # not measured
    ):
        engine, backend = timed(step_s=step_s)
        engine.handle(submit("a", (3,), 20))
        messages = run(engine)
        assert backend.calls == calls
        said = [m for m in messages if isinstance(m, Tokens)]
        assert [len(m.token_ids) for m in said] == calls, "one message a call"
        assert output(messages, "a") == [4 + i for i in range(20)]
        assert said[-1].completion_s == pytest.approx(19 * step_s)
        assert engine.stats().steps == engine.stats().output_tokens == 20


def test_one_slow_call_is_no_reason_for_a_short_one_and_two_are() -> None:
    engine, backend = timed()
    engine.handle(submit("a", (3,), 60))
    for slow in (False, False, True, False, True, True, False):
        backend.step_s = 5e-4 if slow else 1e-4
        engine.step()
    assert backend.calls == [1, 8, 8, 8, 8, 8, 2]


def test_more_rows_than_were_measured_are_taken_to_cost_as_much_more() -> None:
    stride = Stride(most=MOST, longest_s=1e-3)
    engine, backend = timed(step_s=2e-4, max_sequences=8)
    engine.stride = stride
    engine.handle(submit("a", (1,), 3))
    engine.step()
    engine.step()
    assert backend.calls == [1, 2]
    for name in "bcde":
        engine.handle(submit(name, (1,), 50))
    engine.step()  # four rows were read
    engine.step()
    assert backend.calls == [1, 2, 1, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {"logprobs": 0},
        {"frequency_penalty": 0.5},
        {"presence_penalty": 0.5},
        {"logit_bias": ((5, 1.0),)},
        {"min_tokens": 3, "stop_ids": (99,)},
    ],
)
def test_a_row_that_needs_the_host_has_all_go_step_by_step(changes: dict[str, object]) -> None:
    engine, backend = timed()
    engine.handle(submit("plain", (1,), 30))
    engine.handle(submit("asks", (50,), 6, **changes))
    messages = run(engine)
    assert backend.calls[:6] == [1] * 6
    assert max(backend.calls[6:]) == 8
    assert len(output(messages, "plain")) == 30


def test_nobody_waits_or_reads_while_others_make_several_steps() -> None:
    engine, backend = timed(max_sequences=1)
    engine.handle(submit("a", (1,), 10))
    engine.handle(submit("b", (1,), 10))
    run(engine)
    assert backend.calls == [1] * 11 + [8, 1]
    engine, backend = timed()
    engine.handle(submit("a", (1,), 100))
    engine.step()
    engine.handle(submit("long", tuple(range(100)), 1))
    for _ in range(4):
        engine.step()
    assert backend.calls == [1] * 5


def test_steps_are_as_many_as_there_are_blocks_for() -> None:
    """Two rows of 13 tokens and three blocks: four more each, then one of them gives way."""
    engine, backend = timed(num_blocks=3)
    for name in "ab":
        engine.handle(submit(name, (1,) * 12, 12))
    messages = engine.step() + engine.step()
    assert backend.calls == [1, 4]
    assert engine.stats().preempted == 0
    messages += engine.step()
    assert engine.stats().preempted == 1
    messages += run(engine)
    assert [len(output(messages, name)) for name in "ab"] == [12, 12]


def test_what_comes_after_the_end_is_dropped_and_not_counted() -> None:
    """The 22nd of 25 drawn tokens ends it: those behind would have filled a second block."""
    prompt = tuple(range(10))
    more = (*range(60), 1)
    found: list[object] = []
    for most in (1, 8):
        engine, backend = timed(most=most)
        engine.handle(submit("a", prompt, 80, stop_ids=(31,)))
        engine.handle(submit("b", (70,), 80, stop_ids=(100,)))
        messages = run(engine)
        assert output(messages, "a") == list(range(10, 32))
        assert output(messages, "b") == list(range(71, 101))
        assert endings(messages) == {"a": "stop", "b": "stop"}
        assert engine.stats().output_tokens == 22 + 30
        assert engine.stats().steps == sum(backend.calls)
        assert engine.stats().free_blocks == 64
        engine.handle(submit("again", more, 1))
        (again,) = (m for m in run(engine) if isinstance(m, Tokens))
        found.append(again.cached_tokens)
    assert found == [16, 16], "token 31 was never fed: the second block was never full"


def test_a_tenant_is_charged_for_what_was_kept() -> None:
    def counters(most: int) -> list[float]:
        engine, _ = timed(most=most)
        engine.handle(submit("a", (1,), 100, tenant="x", weight=3.0))
        engine.handle(submit("b", (1,), 100, tenant="y", stop_ids=(9,)))
        engine.handle(submit("c", (1,), 100, tenant="y"))
        tokens = 0
        while tokens < 33:
            tokens += len(output(engine.step(), "a"))
        assert tokens == 33
        return [tenant.counter for tenant in engine._scheduler.tenants]

    assert counters(8) == pytest.approx(counters(1))


def test_a_cancel_between_calls_frees_what_was_reserved() -> None:
    engine, backend = timed()
    engine.handle(submit("a", (1,), 100))
    engine.step()
    engine.step()
    assert backend.calls == [1, 8]
    engine.handle(Cancel(id="a"))
    engine.check_integrity()
    assert engine.stats().free_blocks == 64
    assert engine.is_idle


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to an engine."""

    asked: list[Submit]
    pauses: list[int]  # calls between two that ask
    cancels: dict[int, int] = field(default_factory=dict[int, int])  # who, after which
    num_blocks: int = 64
    max_sequences: int = 4
    has_prefix_cache: bool = True


def play(
    story: Story, backend: Backend, most: int
) -> tuple[dict[str, list[int]], dict[str, str | None]]:
    """The tokens and endings of all, the blocks being checked after every call."""
    engine, _ = timed(
        backend,
        most=most,
        max_sequences=story.max_sequences,
        has_prefix_cache=story.has_prefix_cache,
    )
    messages: list[ToFront] = []
    for i, (asked, pause) in enumerate(zip(story.asked, story.pauses, strict=True)):
        messages += engine.handle(asked)
        for _ in range(pause):
            messages += engine.step()
            engine.check_integrity()
        if i in story.cancels:
            engine.handle(Cancel(id=story.asked[story.cancels[i]].id))
            engine.check_integrity()
    messages += run(engine)
    counted = sum(len(m.token_ids) for m in messages if isinstance(m, Tokens))
    assert engine.stats().output_tokens == counted
    assert engine.stats().free_blocks == backend.num_blocks
    return {a.id: output(messages, a.id) for a in story.asked}, endings(messages)


@st.composite
def stories(draw: st.DrawFn, most_asked: int = 8) -> Story:
    num_blocks = draw(st.integers(3, 20))
    limit = min(PROGRAM.max_positions, num_blocks * 16)
    asked: list[Submit] = []
    count = draw(st.integers(1, most_asked))
    for i in range(count):
        length = draw(st.integers(1, min(60, limit - 1)))
        start = draw(st.integers(0, 3))  # some begin alike
        changes: dict[str, object] = {
            "stop_ids": tuple(draw(st.sets(st.integers(0, VOCAB - 1), max_size=4))),
            "temperature": draw(st.sampled_from([0.0, 0.9])),
            "seed": draw(st.integers(0, 9)),
            "tenant": draw(st.sampled_from(["x", "x", "y"])),
            "logprobs": draw(st.sampled_from([-1, -1, -1, 2])),
            "presence_penalty": draw(st.sampled_from([0.0, 0.0, 0.0, 0.5])),
        }
        prompt = tuple((start + j) % VOCAB for j in range(length))
        most = draw(st.integers(1, min(50, limit - length)))
        asked.append(submit(str(i), prompt, most, **changes))
    return Story(
        asked=asked,
        pauses=[draw(st.integers(0, 6)) for _ in asked],
        cancels=draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, count - 1))),
        num_blocks=num_blocks,
        max_sequences=draw(st.integers(1, 5)),
        has_prefix_cache=draw(st.booleans()),
    )


def check(story: Story, most: int, make: partial[Backend]) -> None:
    """What was cancelled may have come further; all else is the same."""
    expected, ends = play(story, make(num_blocks=story.num_blocks), 1)
    found, found_ends = play(story, make(num_blocks=story.num_blocks), most)
    cancelled = {story.asked[i].id for i in story.cancels.values()}
    for asked in story.asked:
        one, several = expected[asked.id], found[asked.id]
        if asked.id in cancelled:
            shorter = min(len(one), len(several))
            assert one[:shorter] == several[:shorter]
        else:
            assert one == several
            assert ends[asked.id] == found_ends[asked.id]


@given(story=stories(), most=st.integers(2, 9))
def test_any_number_of_steps_gives_the_same_tokens(story: Story, most: int) -> None:
    check(story, most, partial(NullBackend, PROGRAM))


@settings(max_examples=12, deadline=None)
@given(story=stories(most_asked=4), most=st.integers(2, 9))
def test_any_number_of_steps_gives_the_same_tokens_of_the_reference(
    story: Story, most: int
) -> None:
    check(story, most, partial(ReferenceBackend, PROGRAM, WEIGHTS))


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=20, deadline=None)
@given(story=stories(), most=st.integers(2, 9))
def test_any_number_of_steps_gives_the_same_tokens_of_the_machine(
    isa: str, threads: int, story: Story, most: int
) -> None:
    check(story, most, partial(CpuBackend, PROGRAM, WEIGHTS, isa=isa, threads=threads))
