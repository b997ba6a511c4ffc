"""Several answers to one request, on backends that count, draw, fill up and fail."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.repeat import repeat
from headrace.backends.sampling import sample
from headrace.errors import BackendError, QueueFull
from headrace.gateway.choices import choice_seed
from headrace.types import FinishReason, SamplingParams, TokenEvent, Usage
from tests.gateway.test_local import MODEL, ask, collect, provider

VOCAB = MODEL.program.vocab_size
PROMPT = MODEL.chat_template.render_ids(ask().messages)
DRAWN = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=5)


class Drawing(NullBackend):
    """Logits that depend on the last token only; drawn as defined."""

    def __init__(self) -> None:
        super().__init__(MODEL.program, num_blocks=256)

    def step(self, batch: Batch) -> StepResult:
        return repeat(batch, self._draw)

    def _draw(self, batch: Batch) -> StepResult:
        last = batch.token_ids[batch.sample_rows].tolist()
        rows = [np.random.default_rng(token).standard_normal(VOCAB) for token in last]
        logits = np.array(rows, np.float32).reshape(len(rows), VOCAB) * 3
        drawn = sample(logits, batch.sampling, batch.positions[batch.sample_rows] + 1)
        return StepResult(token_ids=drawn, logits=logits if batch.want_logits else None)


def ids_of(events: list[TokenEvent], choice: int) -> list[int]:
    return [i for event in events if event.choice == choice for i in event.token_ids]


def test_each_choice_ends_once_and_usage_comes_with_the_last() -> None:
    async def run() -> list[TokenEvent]:
        async with provider() as running:
            return await collect(running, ask(n=3))

    first, *events = asyncio.run(run())
    assert first == TokenEvent(text="", usage=Usage(prompt_tokens=len(PROMPT), completion_tokens=0))
    counted = [(PROMPT[-1] + 1 + j) % VOCAB for j in range(12)]
    for choice in range(3):
        assert ids_of(events, choice) == counted
        own = [event for event in events if event.choice == choice]
        assert [event.finish for event in own] == [None] * (len(own) - 1) + [FinishReason.LENGTH]
    assert [event.usage for event in events[:-1]] == [None] * (len(events) - 1)
    assert [event.timing for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].usage == Usage(prompt_tokens=len(PROMPT), completion_tokens=36)
    assert events[-1].timing is not None
    assert events[-1].timing.completion_s >= 0


def test_every_choice_is_what_a_request_with_its_seed_would_get() -> None:
    async def run() -> None:
        async with provider(Drawing()) as running:
            together = await collect(running, ask(n=4, sampling=DRAWN))
            for choice in range(4):
                seeded = replace(DRAWN, seed=choice_seed(5, choice))
                alone = await collect(running, ask(id=f"alone{choice}", sampling=seeded))
                assert ids_of(together, choice) == ids_of(alone, 0)
        assert len({tuple(ids_of(together, choice)) for choice in range(4)}) == 4

    asyncio.run(run())


@given(st.integers(0, 2**64 - 1))
def test_the_first_choice_keeps_the_seed_and_the_others_have_their_own(seed: int) -> None:
    seeds = [choice_seed(seed, choice) for choice in range(8)]
    assert seeds[0] == seed
    assert len(set(seeds)) == 8
    assert all(0 <= each < 2**64 for each in seeds)


def test_log_probabilities_belong_to_their_choice() -> None:
    async def run() -> list[TokenEvent]:
        async with provider(Drawing()) as running:
            return await collect(running, ask(n=3, sampling=DRAWN, logprobs=1))

    events = asyncio.run(run())
    for choice in range(3):
        entries = [e for event in events if event.choice == choice for e in event.logprobs]
        written = [MODEL.tokenizer.token_bytes(i) or None for i in ids_of(events, choice)]
        assert [entry.data for entry in entries] == written


def test_a_stop_string_ends_its_own_choice_only() -> None:
    async def run() -> tuple[list[TokenEvent], list[TokenEvent]]:
        async with provider(Drawing()) as running:
            free = await collect(running, ask(n=2, sampling=DRAWN, max_tokens=40))
            texts = ["".join(e.text for e in free if e.choice == c) for c in range(2)]
            stop = next(
                piece
                for i in range(8, len(texts[0]))
                if (piece := texts[0][i : i + 4]) not in texts[1] and piece.isprintable()
            )
            asked = ask(id="r2", n=2, sampling=DRAWN, max_tokens=40, stop=(stop,))
            return free, await collect(running, asked)

    free, stopped = asyncio.run(run())
    endings = {event.choice: event.finish for event in stopped if event.finish}
    assert endings == {0: FinishReason.STOP, 1: FinishReason.LENGTH}
    assert ids_of(stopped, 1) == ids_of(free, 1)
    assert ids_of(stopped, 0) == ids_of(free, 0)[: len(ids_of(stopped, 0))]
    last = stopped[-1].usage
    assert last is not None
    assert last.completion_tokens == len(ids_of(stopped, 0)) + 40


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_closing_the_stream_early_frees_every_choice(after: int) -> None:
    async def run() -> None:
        async with provider() as running:
            async with aclosing(running.stream(ask(n=4, max_tokens=2000))) as events:
                for _ in range(after):
                    await anext(events)
            assert len(await collect(running, ask(id="r2"))) > 1, "the next request is served"

    asyncio.run(run())


def test_all_have_a_place_or_none() -> None:
    async def run() -> None:
        paced = NullBackend(MODEL.program, num_blocks=256, steps_per_s=200)
        async with provider(paced, max_sequences=1, max_waiting=2) as running:
            with pytest.raises(QueueFull):
                await collect(running, ask(n=4, max_tokens=2000))
            assert len(await collect(running, ask(id="r2", n=3, max_tokens=2))) > 3

    asyncio.run(run())


def test_a_failure_of_one_ends_them_all() -> None:
    class Melting(NullBackend):
        """Fails in the first step in which it sees three sequences."""

        def step(self, batch: Batch) -> StepResult:
            if len(batch.block_tables) == 3:
                raise BackendError("melted")
            return super().step(batch)

    async def run() -> None:
        paced = Melting(MODEL.program, num_blocks=256, steps_per_s=200)  # all join before one ends
        async with provider(paced) as running:
            with pytest.raises(BackendError, match="melted"):
                await collect(running, ask(n=3, max_tokens=2000))

    asyncio.run(run())


def test_the_prompt_counts_as_cached_only_when_it_was_before() -> None:
    long = ask("word " * 100, n=3, max_tokens=2)

    async def run() -> list[int]:
        async with provider() as running:
            found: list[int] = []
            for name in ("a", "b"):
                usage = (await collect(running, replace(long, id=name)))[-1].usage
                assert usage is not None
                found.append(usage.cached_tokens)
            return found

    prompt_tokens = len(MODEL.chat_template.render_ids(long.messages))
    assert asyncio.run(run()) == [0, (prompt_tokens - 1) // 16 * 16]
