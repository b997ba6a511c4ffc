"""Several prompts in one call, over a provider that follows a script."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from headrace.errors import EngineError, QueueFull
from headrace.gateway.several import stream_all
from headrace.types import FinishReason, Request, SamplingParams, TokenEvent
from tests.scripted import CARD, Hold, ScriptedProvider

ASK = Request(id="r", model=CARD.id, prompt="a", sampling=SamplingParams())


def three(provider: ScriptedProvider) -> AsyncGenerator[TokenEvent, None]:
    return stream_all(provider, [replace(ASK, id=f"r/{i}") for i in range(3)])


def test_all_are_admitted_before_the_first_event() -> None:
    class OneTooMany(ScriptedProvider):
        async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
            if request.id == "r/2":
                raise QueueFull("full")
            async for event in super().stream(request):
                yield event

    async def scenario() -> None:
        provider = OneTooMany("a", Hold())
        with pytest.raises(QueueFull):
            await anext(three(provider))
        assert (provider.running, provider.cancelled) == (0, 2)

    asyncio.run(scenario())


def test_closing_closes_all() -> None:
    async def scenario() -> None:
        provider = ScriptedProvider("a", Hold())
        async with aclosing(three(provider)) as events:
            seen = [await anext(events) for _ in range(4)]
            assert provider.running == 3
        assert [event.choice for event in seen[1:]] != []
        assert (provider.running, provider.cancelled) == (0, 3)

    asyncio.run(scenario())


def test_usage_and_times_come_with_the_last_event_only() -> None:
    async def scenario() -> list[TokenEvent]:
        return [event async for event in three(ScriptedProvider("a", "b"))]

    *events, last = asyncio.run(scenario())
    assert sum(event.finish is not None for event in events) == 2
    assert all(event.timing is None for event in events)
    assert last.finish is FinishReason.STOP
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (21, 6)
    assert last.timing is not None


def test_one_that_ends_without_a_reason_ends_all() -> None:
    async def scenario() -> None:
        provider = ScriptedProvider("a", finish=None)
        with pytest.raises(EngineError, match="without a finish reason"):
            async for _ in three(provider):
                pass
        assert provider.running == 0

    asyncio.run(scenario())
