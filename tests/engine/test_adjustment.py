"""Penalties, biases and the least number of tokens: by hand, by formula, and under pressure."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.backends.sampling import sample
from headrace.engine.adjustment import Adjustment
from headrace.engine.messages import Failed, Submit, Tokens
from tests.engine.test_engine import endings, make_engine, output, run, submit
from tests.tiny_llama import random_weights, tiny_program


class Constant(NullBackend):
    """The same logits at every step: 3, 2.5, 2 and 1 for tokens 0 to 3, hardly any for the rest."""

    def __init__(self) -> None:
        super().__init__(tiny_program(), num_blocks=64)
        self.logits = np.full(self.program.vocab_size, -50, np.float32)
        self.logits[:4] = [3, 2.5, 2, 1]

    def step(self, batch: Batch) -> StepResult:
        rows = np.tile(self.logits, (len(batch.sample_rows), 1))
        positions = batch.positions[batch.sample_rows] + 1
        return StepResult(
            token_ids=sample(rows, batch.sampling, positions),
            logits=rows if batch.want_logits else None,
        )


def answer(asked: Submit) -> list[int]:
    engine = make_engine(Constant())
    engine.handle(asked)
    return output(run(engine), asked.id)


def test_the_frequency_penalty_grows_with_each_repetition() -> None:
    """Logits at each step, by hand; 0.75 less for every time the token came before.

    3 2.5 2 1 -> 0, 2.25 2.5 2 1 -> 1, 2.25 1.75 2 1 -> 0, 1.5 1.75 2 1 -> 2, 1.5 1.75 1.25 1 -> 1,
    1.5 1 1.25 1 -> 0, .75 1 1.25 1 -> 2, .75 1 .5 1 -> 1 (the lower id), .75 .25 .5 1 -> 3
    """
    asked = submit("a", (0, 0, 0), 9, frequency_penalty=0.75)
    assert answer(asked) == [0, 1, 0, 2, 1, 0, 2, 1, 3], "the prompt's tokens do not count"


def test_the_presence_penalty_is_paid_once() -> None:
    """3 2.5 2 1 -> 0, 2.25 2.5 2 1 -> 1, 2.25 1.75 2 1 -> 0 from then on."""
    assert answer(submit("a", (1,), 5, presence_penalty=0.75)) == [0, 1, 0, 0, 0]


def test_a_negative_penalty_invites_repetition() -> None:
    bias = ((1, 1.0),)
    assert answer(submit("a", (1,), 4, frequency_penalty=-1.0, logit_bias=bias)) == [1, 1, 1, 1]


def test_a_bias_of_100_decides_and_minus_100_forbids() -> None:
    assert answer(submit("a", (1,), 3, logit_bias=((50, 100.0),))) == [50, 50, 50]
    bias = ((0, -100.0), (1, -100.0))
    assert answer(submit("a", (1,), 3, logit_bias=bias, temperature=2.0, top_k=2)) != [0, 0, 0]
    for seed in range(20):
        drawn = answer(submit("a", (1,), 8, logit_bias=bias, temperature=2.0, seed=seed))
        assert not {0, 1} & set(drawn)


@pytest.mark.parametrize("min_tokens", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("changes", [{}, {"frequency_penalty": 0.1, "logit_bias": ((0, 5.0),)}])
def test_end_tokens_wait_for_the_least_number(min_tokens: int, changes: dict[str, object]) -> None:
    engine = make_engine(Constant())
    engine.handle(submit("a", (9,), 8, stop_ids=(0, 60), min_tokens=min_tokens, **changes))
    messages = run(engine)
    drawn = output(messages, "a")
    assert 0 not in drawn[:min_tokens]
    if min_tokens < 8:
        assert drawn[min_tokens:] == [0]
        assert endings(messages) == {"a": "stop"}
    else:
        assert endings(messages) == {"a": "length"}


@given(
    bias=st.dictionaries(st.integers(0, 30), st.floats(-100, 100)),
    stops=st.lists(st.integers(0, 30), max_size=4),
    frequency=st.floats(-2, 2),
    presence=st.floats(-2, 2),
    min_tokens=st.integers(0, 12),
    drawn=st.lists(st.integers(0, 30), max_size=25),
)
def test_token_by_token_equals_the_formula(
    bias: dict[int, float],
    stops: list[int],
    frequency: float,
    presence: float,
    min_tokens: int,
    drawn: list[int],
) -> None:
    kept = Adjustment(
        submit(
            "a",
            (1,),
            30,
            logit_bias=tuple(bias.items()),
            stop_ids=tuple(stops),
            frequency_penalty=frequency,
            presence_penalty=presence,
            min_tokens=min_tokens,
        )
    )
    for count in range(len(drawn) + 1):
        if count:
            kept.count(drawn[count - 1])
        counts = Counter(drawn[:count])
        expected = np.zeros(31)
        for token in range(31):
            expected[token] = bias.get(token, 0.0)
            expected[token] -= frequency * counts[token] + presence * (counts[token] > 0)
            if count < min_tokens and token in stops:
                expected[token] = -np.inf
        found = np.zeros(31, np.float32)
        found[kept.ids] = kept.values
        np.testing.assert_array_equal(found, expected.astype(np.float32))
        assert (np.diff(kept.ids) > 0).all()


def test_pressure_on_the_cache_changes_no_adjusted_token() -> None:
    program = tiny_program()
    weights = random_weights(program)
    asked = [
        submit(
            f"s{i}",
            tuple((7 * i + j) % 101 for j in range(10 + 5 * i)),
            40,
            temperature=0.8 * (i % 2),
            seed=i,
            frequency_penalty=0.9,
            presence_penalty=0.5,
            logit_bias=((i, 3.0), (50, -100.0)),
            stop_ids=(i, 60),
            min_tokens=40,
            logprobs=2,
        )
        for i in range(4)
    ]

    def run_with(num_blocks: int, max_sequences: int) -> tuple[list[list[int]], object, int]:
        backend = ReferenceBackend(program, weights, num_blocks=num_blocks)
        engine = make_engine(backend, max_sequences=max_sequences)
        for message in asked:
            engine.handle(message)
        messages = run(engine)
        said = [message for message in messages if isinstance(message, Tokens)]
        logprobs = {m.id: [each.logprobs for each in said if each.id == m.id] for m in asked}
        return [output(messages, m.id) for m in asked], logprobs, engine.stats().preempted

    tokens, logprobs, preemptions = run_with(64, 4)
    assert preemptions == 0
    assert run_with(64, 1)[:2] == (tokens, logprobs)
    tight = run_with(6, 4)
    assert tight[:2] == (tokens, logprobs)
    assert tight[2] > 0
    for i, drawn in enumerate(tokens):
        assert len(drawn) == 40
        assert not {i, 50, 60} & set(drawn)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"logit_bias": ((101, 1.0),)}, "outside the vocabulary"),
        ({"logit_bias": ((-1, 1.0),)}, "outside the vocabulary"),
        ({"min_tokens": 9}, "out of range"),
        ({"min_tokens": -1}, "out of range"),
        ({"logprobs": 21}, "out of range"),
        ({"min_tokens": 1, "stop_ids": tuple(range(101))}, "every token ends"),
    ],
)
def test_what_cannot_be_adjusted_is_refused(changes: dict[str, object], says: str) -> None:
    engine = make_engine()
    (refusal,) = engine.handle(submit("a", (1,), 8, **changes))
    assert isinstance(refusal, Failed)
    assert refusal.error == "InvalidRequest"
    assert says in refusal.message
    assert engine.is_idle
