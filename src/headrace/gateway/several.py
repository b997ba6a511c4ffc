"""Several prompts in one call: a request for each, and one stream of all their events."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from headrace.errors import EngineError
from headrace.gateway.base import Provider
from headrace.gateway.merged import Merged
from headrace.types import Request, Timing, TokenEvent, Usage

NOTHING = Usage(prompt_tokens=0, completion_tokens=0)


def stream_all(provider: Provider, requests: Sequence[Request]) -> AsyncGenerator[TokenEvent, None]:
    """Complete `requests`, at least one, as one: see `Provider.stream`.

    Choices are numbered on, prompt by prompt. All are admitted before the first event, or none: an
    error of one ends them all.
    """
    if len(requests) == 1:
        return provider.stream(requests[0])
    return _merged([_whole(provider, each) for each in requests], [each.n for each in requests])


async def _merged(
    streams: Sequence[AsyncGenerator[TokenEvent, None]], counts: Sequence[int]
) -> AsyncGenerator[TokenEvent, None]:
    offsets = [sum(counts[:prompt]) for prompt in range(len(counts))]
    usages = [NOTHING] * len(counts)
    timings: list[Timing] = []
    to_end = sum(counts)
    async with Merged(streams) as merged:
        early = deque[tuple[int, TokenEvent]]()
        while len({prompt for prompt, _ in early}) < len(counts):
            prompt, event = await merged.next()
            usages[prompt] = event.usage or usages[prompt]
            early.append((prompt, event))
        yield TokenEvent(text="", usage=sum(usages, NOTHING))
        while to_end:
            prompt, event = early.popleft() if early else await merged.next()
            usages[prompt] = event.usage or usages[prompt]
            if event.timing is not None:
                timings.append(event.timing)
            to_end -= event.finish is not None
            yield msgspec.structs.replace(
                event,
                choice=offsets[prompt] + event.choice,
                usage=None if to_end else sum(usages, NOTHING),
                timing=None if to_end or not timings else _span(timings),
            )


async def _whole(provider: Provider, request: Request) -> AsyncGenerator[TokenEvent, None]:
    """The events of one request; one that ends too early is an error."""
    to_end = request.n
    async with aclosing(provider.stream(request)) as events:
        async for event in events:
            yield event
            to_end -= event.finish is not None
            if not to_end:
                return
    raise EngineError("the stream ended without a finish reason")


def _span(timings: Sequence[Timing]) -> Timing:
    """Up to the soonest first token as it was, then until the last answer ended."""
    first = min(timings, key=lambda timing: timing.queue_s + timing.prompt_s)
    return first.until(max(timing.total_s for timing in timings))
