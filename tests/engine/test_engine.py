"""The engine through its messages, on the null backend (it counts) and on the reference."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Backend, Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.messages import Accepted, Cancel, Failed, Submit, ToFront, Tokens
from headrace.errors import BackendError
from tests.tiny_llama import random_weights, tiny_program

VOCAB = 101


def submit(name: str, prompt: tuple[int, ...], max_tokens: int = 8, **changes: object) -> Submit:
    values: dict[str, object] = {
        "stop_ids": (),
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "seed": 0,
        **changes,
    }
    return Submit(id=name, prompt=prompt, max_tokens=max_tokens, **values)  # pyright: ignore[reportArgumentType]


def make_engine(
    backend: Backend | None = None,
    *,
    num_blocks: int = 64,
    max_sequences: int = 4,
    max_step_tokens: int = 32,
    max_waiting: int = 100,
) -> Engine:
    return Engine(
        backend or NullBackend(tiny_program(), num_blocks=num_blocks),
        ManualClock(),
        max_sequences=max_sequences,
        max_step_tokens=max_step_tokens,
        max_waiting=max_waiting,
    )


def run(engine: Engine, watch: Callable[[], None] = lambda: None) -> list[ToFront]:
    out: list[ToFront] = []
    for _ in range(10_000):
        if engine.is_idle:
            engine.check_integrity()
            return out
        out += engine.step()
        engine.check_integrity()
        watch()
    raise AssertionError("the engine makes no progress")


def output(messages: list[ToFront], name: str) -> list[int]:
    return [t for m in messages if isinstance(m, Tokens) and m.id == name for t in m.token_ids]


def endings(messages: list[ToFront]) -> dict[str, str | None]:
    return {m.id: m.finish for m in messages if isinstance(m, Tokens) and m.finish}


def test_a_sequence_is_accepted_then_counts_to_its_limit() -> None:
    engine = make_engine()
    assert engine.handle(submit("a", (3, 4, 5), 4)) == [Accepted(id="a")]
    messages = run(engine)
    assert output(messages, "a") == [6, 7, 8, 9]
    assert endings(messages) == {"a": "length"}


def test_any_stop_id_ends_it_and_is_part_of_the_output() -> None:
    engine = make_engine()
    engine.handle(submit("a", (3,), 50, stop_ids=(90, 7)))
    messages = run(engine)
    assert output(messages, "a") == [4, 5, 6, 7]
    assert endings(messages) == {"a": "stop"}


def test_a_long_prompt_is_read_in_chunks_while_others_go_on_decoding() -> None:
    engine = make_engine(max_step_tokens=8)
    engine.handle(submit("short", (1,), 30))
    assert output(engine.step(), "short") == [2]
    engine.handle(submit("long", tuple(range(50)), 2))
    while not output(messages := engine.step(), "long"):
        assert len(output(messages, "short")) == 1, "a running stream waited for a prompt"
    assert output(messages, "long") == [50]


def test_sequences_join_and_leave_between_steps() -> None:
    engine = make_engine(max_sequences=2)
    for i, name in enumerate("abcde"):
        engine.handle(submit(name, (10 * i,), 3 + i))
    messages = run(engine)
    for i, name in enumerate("abcde"):
        assert output(messages, name) == [10 * i + 1 + j for j in range(3 + i)]


@pytest.mark.parametrize("after", range(8))
def test_cancel_frees_every_block_at_once(after: int) -> None:
    engine = make_engine(max_step_tokens=16)
    engine.handle(submit("a", tuple(range(40)), 20))
    for _ in range(after):
        engine.step()
    assert engine.handle(Cancel(id="a")) == []
    assert engine.is_idle
    engine.check_integrity()
    assert engine.step() == []


def test_cancelling_the_unknown_is_harmless() -> None:
    engine = make_engine()
    assert engine.handle(Cancel(id="nobody")) == []


def test_cache_demand_beyond_the_cache_preempts_and_changes_no_token() -> None:
    program = tiny_program()
    weights = random_weights(program)
    asked = [
        submit(
            f"s{i}",
            tuple((7 * i + j) % VOCAB for j in range(10 + 5 * i)),
            40,
            temperature=0.8,
            seed=i,
        )
        for i in range(4)
    ]

    def tokens_with(num_blocks: int, max_sequences: int) -> dict[str, list[int]]:
        backend = ReferenceBackend(program, weights, num_blocks=num_blocks)
        engine = make_engine(backend, max_sequences=max_sequences)
        for message in asked:
            engine.handle(message)
        messages = run(engine)
        preemptions.append(engine.stats().preempted)
        return {m.id: output(messages, m.id) for m in asked}

    preemptions: list[int] = []
    roomy = tokens_with(num_blocks=64, max_sequences=4)
    tight = tokens_with(num_blocks=6, max_sequences=4)
    alone = tokens_with(num_blocks=64, max_sequences=1)
    assert roomy == tight == alone
    assert preemptions[0] == 0 < preemptions[1]
    assert all(len(tokens) == 40 for tokens in roomy.values())


def test_the_queue_is_bounded_and_says_so() -> None:
    engine = make_engine(max_sequences=1, max_waiting=2)
    answers = [engine.handle(submit(str(i), (1,)))[0] for i in range(4)]
    assert [type(a) for a in answers] == [Accepted, Accepted, Accepted, Failed]
    assert isinstance(answers[3], Failed)
    assert answers[3].error == "QueueFull"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (submit("x", ()), "needs a prompt"),
        (submit("x", (1,), 0), "room for one"),
        (submit("x", (1, VOCAB)), "outside the vocabulary"),
        (submit("x", (1, -1)), "outside the vocabulary"),
        (submit("x", (1,) * 200, 57), "exceed 256"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_queued(bad: Submit, says: str) -> None:
    engine = make_engine()
    (answer,) = engine.handle(bad)
    assert isinstance(answer, Failed)
    assert answer.error == "InvalidRequest"
    assert says in answer.message
    assert engine.is_idle


def test_the_context_is_no_longer_than_the_cache() -> None:
    assert make_engine(num_blocks=4).context_tokens == 64
    assert make_engine(num_blocks=400).context_tokens == 256


class Faulty(NullBackend):
    """Fails on the n-th step, then works again."""

    def __init__(self, fail_at: int, error: Exception) -> None:
        super().__init__(tiny_program(), num_blocks=64)
        self.steps = 0
        self.fail_at = fail_at
        self.error = error

    def step(self, batch: Batch) -> StepResult:
        self.steps += 1
        if self.steps == self.fail_at:
            raise self.error
        return super().step(batch)


@pytest.mark.parametrize(
    ("error", "name"), [(BackendError("melted"), "BackendError"), (KeyError("k"), "EngineError")]
)
def test_a_failed_step_ends_its_sequences_and_the_engine_goes_on(
    error: Exception, name: str
) -> None:
    engine = make_engine(Faulty(3, error), max_sequences=2)
    for i in range(3):
        engine.handle(submit(str(i), (10 * i,), 5))
    messages = run(engine)
    failed = [m for m in messages if isinstance(m, Failed)]
    assert [(m.id, m.error) for m in failed] == [("0", name), ("1", name)]
    assert "'k'" not in failed[0].message, "foreign errors keep their details to the log"
    assert output(messages, "2") == [21, 22, 23, 24, 25]


@given(data=st.data())
def test_whatever_arrives_and_leaves_every_token_and_block_is_accounted_for(
    data: st.DataObject,
) -> None:
    engine = make_engine(
        num_blocks=data.draw(st.integers(3, 20)),
        max_sequences=data.draw(st.integers(1, 5)),
        max_step_tokens=data.draw(st.integers(1, 40)),
    )
    limit = engine.context_tokens
    asked: dict[str, Submit] = {}
    cancelled: set[str] = set()
    messages: list[ToFront] = []
    for i in range(data.draw(st.integers(1, 12))):
        length = data.draw(st.integers(1, limit - 1))
        start = data.draw(st.integers(0, VOCAB - 1))
        prompt = tuple((start + j) % VOCAB for j in range(length))
        asked[str(i)] = submit(str(i), prompt, data.draw(st.integers(1, min(30, limit - length))))
        messages += engine.handle(asked[str(i)])
        for _ in range(data.draw(st.integers(0, 6))):
            messages += engine.step()
            engine.check_integrity()
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            victim = data.draw(st.sampled_from(sorted(asked)))
            cancelled.add(victim)
            engine.handle(Cancel(id=victim))
    messages += run(engine)
    for name, message in asked.items():
        expected = [(message.prompt[-1] + 1 + j) % VOCAB for j in range(message.max_tokens)]
        got = output(messages, name)
        assert got == expected[: len(got)]
        assert name in cancelled or got == expected
