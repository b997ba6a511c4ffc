"""Sequences that wait for another to read the prompt they share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.block_pool import BlockPool
from headrace.engine.messages import Accepted, Cancel, Failed, Submit, ToFront, Tokens
from headrace.engine.scheduler import Scheduler
from headrace.engine.sequence import Sequence
from headrace.errors import BackendError
from tests.engine.simulation import Arrival, Simulation
from tests.engine.test_engine import make_engine, output, run, submit
from tests.tiny_llama import random_weights, tiny_program

PROMPT = tuple((3 * i) % 101 for i in range(70))


class Counting(NullBackend):
    """Counts the rows it runs; fails at step `fail_at`."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__(tiny_program(), num_blocks=64)
        self.rows = 0
        self.steps = 0
        self._fail_at = fail_at

    def step(self, batch: Batch) -> StepResult:
        self.rows += len(batch.token_ids)
        self.steps += 1
        if self.steps == self._fail_at:
            raise BackendError("melted")
        return super().step(batch)


def family(count: int, max_tokens: int = 5, **changes: object) -> list[Submit]:
    return [
        submit(f"r#{i}", PROMPT, max_tokens, seed=i, after="r#0" if i else "", **changes)
        for i in range(count)
    ]


def cached(messages: list[ToFront], name: str) -> int:
    return next(m.cached_tokens for m in messages if isinstance(m, Tokens) and m.id == name)


def test_the_prompt_is_read_once() -> None:
    backend = Counting()
    engine = make_engine(backend, max_step_tokens=32)
    for asked in family(4):
        engine.handle(asked)
    messages = run(engine)
    whole = len(PROMPT) // 16 * 16
    assert cached(messages, "r#0") == 0
    assert [cached(messages, f"r#{i}") for i in (1, 2, 3)] == [whole] * 3
    decoded = 4 * (5 - 1)
    assert backend.rows == len(PROMPT) + 3 * (len(PROMPT) - whole) + decoded


def test_others_do_not_wait_behind_those_that_are_held() -> None:
    engine = make_engine(max_step_tokens=40)
    for asked in family(3):
        engine.handle(asked)
    engine.handle(submit("other", (9,), 2))
    first = [message.id for step in (engine.step(), engine.step()) for message in step]
    assert sorted(first) == ["other", "r#0"], "the second step had room for both"
    run(engine)


@pytest.mark.parametrize("after", range(5))
def test_when_the_elder_goes_the_others_read_for_themselves(after: int) -> None:
    engine = make_engine(max_step_tokens=32)
    for asked in family(3):
        engine.handle(asked)
    messages = [message for _ in range(after) for message in engine.step()]
    engine.handle(Cancel(id="r#0"))
    messages += run(engine)
    for name in ("r#1", "r#2"):
        assert output(messages, name) == [(PROMPT[-1] + 1 + j) % 101 for j in range(5)]


def test_when_the_elder_fails_the_others_go_on() -> None:
    engine = make_engine(Counting(fail_at=2), max_step_tokens=32)
    for asked in family(3):
        engine.handle(asked)
    messages = run(engine)
    assert output(messages, "r#0") == []
    assert len(output(messages, "r#1")) == len(output(messages, "r#2")) == 5


def test_an_elder_nobody_knows_is_no_reason_to_wait() -> None:
    engine = make_engine()
    engine.handle(submit("a", (1,), 2, after="nobody"))
    engine.handle(submit("b", (1,), 2, after="b"))
    messages = run(engine)
    assert output(messages, "a") == output(messages, "b") == [2, 3]


def test_tokens_are_the_same_with_and_without_the_cache_and_under_pressure() -> None:
    program = tiny_program()
    weights = random_weights(program)

    def tokens(num_blocks: int, *, has_prefix_cache: bool, max_sequences: int = 4) -> object:
        backend = ReferenceBackend(program, weights, num_blocks=num_blocks)
        engine = Engine(
            backend,
            ManualClock(),
            max_sequences=max_sequences,
            max_step_tokens=32,
            max_waiting=100,
            has_prefix_cache=has_prefix_cache,
        )
        for asked in family(4, 30, temperature=0.9, presence_penalty=0.5):
            engine.handle(asked)
        messages = run(engine)
        return [output(messages, f"r#{i}") for i in range(4)]

    expected = tokens(64, has_prefix_cache=True)
    assert isinstance(expected, list)
    assert len({tuple(choice) for choice in expected}) == 4, "each has a seed of its own"
    assert tokens(64, has_prefix_cache=False) == expected
    assert tokens(9, has_prefix_cache=True) == expected
    assert tokens(64, has_prefix_cache=True, max_sequences=1) == expected


def long_prompt(name: str, **changes: object) -> Submit:
    """Read in 32 steps of 30.6 ms: 0.98 s."""
    return submit(name, tuple((len(name) + i) % 101 for i in range(8_000)), 100, **changes)


def reading_for_two() -> Simulation:
    """Two slots. The speed is known; one of a family reads, the other waits for it."""
    simulation = Simulation(max_sequences=2)
    for name in ("w", "ww"):
        simulation.run([Arrival(simulation.clock.now_s(), long_prompt(name))])
    now_s = simulation.clock.now_s()
    family = [long_prompt("r#0"), long_prompt("r#1", after="r#0")]
    simulation.run(
        [Arrival(now_s + 0.01 * i, asked) for i, asked in enumerate(family)],
        until=lambda: simulation.clock.now_s() > now_s + 0.1,
    )
    return simulation


def test_a_prompt_that_is_shared_counts_once_in_what_others_would_wait() -> None:
    engine = reading_for_two().engine
    assert engine.handle(submit("x", (1,), 4, deadline_s=1.2)) == [Accepted(id="x")]
    (refusal,) = engine.handle(submit("y", (1,), 4, deadline_s=0.6))
    assert isinstance(refusal, Failed), "reading it once takes longer"


def test_waiting_for_an_elder_is_no_sign_of_a_long_queue() -> None:
    simulation = reading_for_two()
    simulation.run([], until=lambda: simulation.records["r#1"].first_s is not None)
    impatient = submit("x", (1,), 4, max_queue_s=0.05)
    assert simulation.engine.handle(impatient) == [Accepted(id="x")]


def test_those_that_are_held_are_no_crowd() -> None:
    scheduler = Scheduler(BlockPool(64, 16), max_sequences=1, max_step_tokens=32)
    elder, sibling, other = (Sequence.begin(submit(name, PROMPT), 0.0) for name in "abc")
    sibling.elder = elder
    scheduler.add(elder)
    scheduler.add(sibling)
    scheduler.schedule()
    assert (scheduler.num_waiting, scheduler.is_crowded) == (1, False)
    scheduler.add(other)
    assert scheduler.is_crowded


@given(data=st.data())
def test_whoever_waits_for_whom_all_come_to_their_end(data: st.DataObject) -> None:
    engine = make_engine(
        num_blocks=data.draw(st.integers(6, 20)),
        max_sequences=data.draw(st.integers(1, 4)),
        max_step_tokens=data.draw(st.integers(1, 40)),
    )
    messages: list[ToFront] = []
    names: list[str] = []
    cancelled: set[str] = set()
    for i in range(data.draw(st.integers(1, 10))):
        after = data.draw(st.sampled_from(["", *names]))
        names.append(str(i))
        prompt = PROMPT[: data.draw(st.integers(1, 70))]
        ranks = {
            "priority": data.draw(st.integers(0, 2)),
            "tenant": data.draw(st.sampled_from("ab")),
        }
        engine.handle(submit(str(i), prompt, 6, after=after, **ranks))
        for _ in range(data.draw(st.integers(0, 4))):
            messages += engine.step()
            engine.check_integrity()
        if data.draw(st.integers(0, 5)) == 0:
            cancelled.add(victim := data.draw(st.sampled_from(names)))
            engine.handle(Cancel(id=victim))
    messages += run(engine)
    for name in names:
        assert name in cancelled or len(output(messages, name)) == 6
