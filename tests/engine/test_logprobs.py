"""Log-probabilities: by hand, against transformers' logits, and only for who asked."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.engine.logprobs import logprobs_of
from headrace.engine.messages import Tokens
from tests.engine.test_engine import make_engine, run, submit
from tests.golden_cases import CASES, load_case, open_case
from tests.tiny_llama import tiny_program


def test_a_hand_worked_row() -> None:
    logits = np.log(np.array([1, 4, 1, 2], np.float32)) + np.float32(7)
    found = logprobs_of(logits, 2, 3)
    assert found.chosen == pytest.approx(math.log(1 / 8), abs=1e-6)
    assert [token_id for token_id, _ in found.top] == [1, 3, 0], "ties go to the lowest id"
    expected = [math.log(4 / 8), math.log(2 / 8), math.log(1 / 8)]
    assert [value for _, value in found.top] == pytest.approx(expected, abs=1e-6)


@given(
    row=st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32) | st.integers(-3, 3), min_size=1, max_size=60
    ),
    top=st.integers(0, 20),
    data=st.data(),
)
def test_any_row_against_plain_arithmetic(row: list[float], top: int, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(row) - 1))
    logits = np.array(row, np.float32)
    found = logprobs_of(logits, token, top)
    exact = [float(value) for value in logits]
    most = max(exact)
    total = math.log(math.fsum(math.exp(value - most) for value in exact))
    assert found.chosen == pytest.approx(exact[token] - most - total, rel=1e-12, abs=1e-12)
    order = sorted(range(len(row)), key=lambda i: (-exact[i], i))[:top]
    assert [token_id for token_id, _ in found.top] == order
    for token_id, value in found.top:
        assert value == pytest.approx(exact[token_id] - most - total, rel=1e-12, abs=1e-12)
    assert all(a >= b for (_, a), (_, b) in pairwise(found.top))


@pytest.mark.parametrize("name", CASES)
def test_the_first_token_has_the_log_probabilities_of_transformers(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    backend = ReferenceBackend(model.program, model.weights, num_blocks=64, round_kv=False)
    engine = make_engine(backend, num_blocks=64, max_step_tokens=32)
    asked = submit(
        "a",
        tuple(case.prompt.tolist()),
        1,
        logprobs=20,
        temperature=1.3,
        frequency_penalty=2.0,
        logit_bias=((5, 100.0),),
    )
    engine.handle(asked)
    (said,) = [message for message in run(engine) if isinstance(message, Tokens)]
    assert said.token_ids == (5,), "biased to it"
    assert said.logprobs is not None
    (found,) = said.logprobs
    logits = case.logits[-1].astype(np.float64)
    expected = logits - np.logaddexp.reduce(logits)
    tolerance = 2e-4 * np.abs(logits).max()
    assert found.chosen == pytest.approx(expected[5], abs=tolerance)
    assert len(found.top) == 20
    for place, (token_id, value) in enumerate(found.top):
        assert value == pytest.approx(expected[token_id], abs=tolerance)
        assert value == pytest.approx(np.sort(expected)[-1 - place], abs=tolerance)


def test_logits_are_fetched_only_in_steps_that_sample_who_asked() -> None:
    wanted: list[bool] = []

    class Watched(NullBackend):
        def step(self, batch: Batch) -> StepResult:
            wanted.append(batch.want_logits)
            return super().step(batch)

    engine = make_engine(Watched(tiny_program(), num_blocks=64), max_step_tokens=8)
    engine.handle(submit("plain", (1,), 6))
    engine.step()
    engine.handle(submit("asks", tuple(range(20, 37)), 2, logprobs=0))
    messages = run(engine)
    assert wanted == [False, False, False, True, True, False]
    said = {m.id: m.logprobs for m in messages if isinstance(m, Tokens)}
    assert said["plain"] is None
    one_hot = -math.log(math.e + 100)
    assert said["asks"] is not None
    (found,) = said["asks"]
    assert found.top == ()
    assert found.chosen == pytest.approx(1 + one_hot)
