"""Log-probabilities of prompts: transformers', whatever chunks, caches and company."""

from collections.abc import Callable

import numpy as np
import pytest

from headrace.backends.base import Backend
from headrace.backends.cpu import CpuBackend
from headrace.backends.reference import ReferenceBackend
from headrace.engine import Engine
from headrace.engine.messages import Failed, PromptLogprobs, ToFront, TokenLogprobs, Tokens
from tests.engine.test_engine import make_engine, output, run, submit
from tests.golden_cases import CASES, load_case, open_case
from tests.tiny_llama import random_weights, tiny_program

PROGRAM = tiny_program()
WEIGHTS = random_weights(PROGRAM, seed=3)
PROMPT = tuple(np.random.default_rng(4).integers(0, PROGRAM.vocab_size, 70).tolist())


def scores(messages: list[ToFront], name: str) -> list[TokenLogprobs]:
    """What was said of the prompt of `name`, all of it before its first output token."""
    told = [m for m in messages if isinstance(m, PromptLogprobs | Tokens) and m.id == name]
    kinds = [isinstance(message, Tokens) for message in told]
    assert kinds == sorted(kinds)
    return [each for m in told if isinstance(m, PromptLogprobs) for each in m.logprobs]


def scored(engine: Engine, prompt: tuple[int, ...] = PROMPT) -> list[TokenLogprobs]:
    engine.handle(submit("s", prompt, 1, logprobs=2, scores_prompt=True))
    return scores(run(engine), "s")


def reference() -> Backend:
    return ReferenceBackend(PROGRAM, WEIGHTS, num_blocks=64)


def cpu() -> Backend:
    return CpuBackend(PROGRAM, WEIGHTS, num_blocks=64, threads=1)


each_backend = pytest.mark.parametrize("make_backend", [reference, cpu])


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_has_the_log_probabilities_of_transformers(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    backend = ReferenceBackend(model.program, model.weights, num_blocks=64, round_kv=False)
    engine = make_engine(backend, max_step_tokens=7)
    prompt = tuple(case.prompt.tolist())
    found = scored(engine, prompt)
    assert len(found) == len(prompt) - 1
    logits = case.logits.astype(np.float64)
    expected = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    tolerance = 2e-4 * np.abs(logits).max()
    for position, each in enumerate(found):
        row = expected[position]
        assert each.chosen == pytest.approx(row[prompt[position + 1]], abs=tolerance)
        assert [value for _, value in each.top] == pytest.approx(
            np.sort(row)[: -len(each.top) - 1 : -1], abs=tolerance
        )


@each_backend
def test_what_the_cache_holds_hides_nothing(make_backend: Callable[[], Backend]) -> None:
    engine = make_engine(make_backend())
    first = scored(engine)
    engine.handle(submit("again", PROMPT, 1, logprobs=2, scores_prompt=True))
    messages = run(engine)
    assert scores(messages, "again") == first
    assert next(m.cached_tokens for m in messages if isinstance(m, Tokens)) == 0
    engine.handle(submit("plain", PROMPT, 1))
    (said,) = [m for m in run(engine) if isinstance(m, Tokens)]
    assert said.cached_tokens == 64, "what was scored is found by others"


@each_backend
@pytest.mark.parametrize("max_step_tokens", [3, 16, 200])
def test_chunks_and_company_change_nothing(
    make_backend: Callable[[], Backend], max_step_tokens: int
) -> None:
    alone = make_engine(make_backend(), max_step_tokens=200)
    expected = scored(alone)
    alone.handle(submit("d", (5, 6), 40, logit_bias=((9, 0.5),), temperature=1.0, seed=7))
    drawn = output(run(alone), "d")
    engine = make_engine(make_backend(), max_step_tokens=max_step_tokens)
    engine.handle(submit("d", (5, 6), 40, logit_bias=((9, 0.5),), temperature=1.0, seed=7))
    for _ in range(3):
        engine.step()
    engine.handle(submit("other", PROMPT[:30], 4, logprobs=0, scores_prompt=True))
    engine.handle(submit("s", PROMPT, 1, logprobs=2, scores_prompt=True))
    messages = run(engine)
    assert scores(messages, "s") == expected
    assert [e.chosen for e in scores(messages, "other")] == [e.chosen for e in expected[:29]]
    assert drawn[-len(output(messages, "d")) :] == output(messages, "d")


def test_whoever_gave_way_is_not_scored_twice() -> None:
    expected = scored(make_engine(reference()))
    engine = make_engine(ReferenceBackend(PROGRAM, WEIGHTS, num_blocks=8), max_step_tokens=20)
    engine.handle(submit("s", PROMPT, 12, logprobs=2, scores_prompt=True, tenant="a"))
    messages: list[ToFront] = []
    for _ in range(3):
        messages += engine.step()
    for name in ("b", "c", "d"):
        engine.handle(submit(name, PROMPT[:50], 6, tenant=name, priority=1))
    messages += run(engine)
    assert engine.stats().preempted > 0, "or this test shows nothing"
    assert scores(messages, "s") == expected


def test_only_who_asked_is_scored() -> None:
    engine = make_engine(reference())
    engine.handle(submit("plain", PROMPT, 2, logprobs=1))
    engine.handle(submit("short", PROMPT[:1], 2, logprobs=1, scores_prompt=True))
    assert not [m for m in run(engine) if isinstance(m, PromptLogprobs)]
    (said,) = engine.handle(submit("bad", PROMPT, 2, scores_prompt=True))
    assert isinstance(said, Failed)
    assert said.error == "InvalidRequest"
