"""Several answers to one request: a sequence for each, and one stream of all their events."""

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

import msgspec

from headrace.engine.messages import Accepted, FromSequence, PromptLogprobs, Submit, Tokens
from headrace.gateway.answer import Answer
from headrace.gateway.echo import Echo
from headrace.gateway.merged import Merged
from headrace.types import Timing, TokenEvent, Usage


def choices_of(asked: Submit, count: int) -> list[Submit]:
    """`count` sequences that continue the same prompt, each with a seed of its own.

    The first is what a single answer would be; the others wait until it has read the prompt, and
    scored it, if it is asked to.
    """
    first = f"{asked.id}#0"
    return [
        msgspec.structs.replace(
            asked,
            id=f"{asked.id}#{choice}",
            seed=choice_seed(asked.seed, choice),
            after=first if choice else "",
            scores_prompt=asked.scores_prompt and choice == 0,
        )
        for choice in range(count)
    ]


def choice_seed(seed: int, choice: int) -> int:
    """The seed (0 .. 2^64 - 1) of a choice: the request's own for choice 0.

    For the others BLAKE2b, 64 bits, little-endian, of seed and choice as 8 such bytes each.
    """
    if choice == 0:
        return seed
    mixed = blake2b(seed.to_bytes(8, "little") + choice.to_bytes(8, "little"), digest_size=8)
    return int.from_bytes(mixed.digest(), "little")


def events_of(message: FromSequence, answer: Answer, echo: Echo) -> Iterable[TokenEvent]:
    """What the engine said of one choice, in words; the prompt's part is that of all choices."""
    match message:
        case Accepted():
            return TokenEvent(text="", usage=answer.usage()), *echo.begin()
        case PromptLogprobs():
            return echo.scored(message)
        case Tokens():
            return answer.events(message)


async def choice_events(
    runs: Sequence[AsyncGenerator[FromSequence, None]], answers: Sequence[Answer], echo: Echo
) -> AsyncGenerator[TokenEvent, None]:
    """The events of all choices as they come; `runs[i]` is put into words by `answers[i]`.

    All are admitted before the first event, or none: an error of one ends them all. One that is
    ended by a stop string ends alone. Each begins with what `echo` says. Usage and timing of the
    whole come with the last event.
    """
    timings: list[Timing | None] = [None] * len(runs)
    async with Merged(runs) as merged:
        early = await _admitted(merged, len(runs))
        yield TokenEvent(text="", usage=answers[0].usage())
        for event in _for_each(echo.begin(), len(runs)):
            yield event
        while None in timings:
            choice, message = early.popleft() if early else await merged.next()
            if timings[choice] is not None or isinstance(message, Accepted):
                continue  # a stop string ended it, the engine did not know yet
            if isinstance(message, PromptLogprobs):
                for event in _for_each(echo.scored(message), len(runs)):
                    yield event
                continue
            for event in answers[choice].events(message):
                if event.finish is None:
                    yield msgspec.structs.replace(event, choice=choice)
                    continue
                merged.close(choice)
                timings[choice] = event.timing
                known = [timing for timing in timings if timing is not None]
                is_last = len(known) == len(runs)
                yield msgspec.structs.replace(
                    event,
                    choice=choice,
                    usage=_usage_of(answers) if is_last else None,
                    timing=_timing_of(known) if is_last else None,
                )


def _for_each(events: Iterable[TokenEvent], count: int) -> Iterator[TokenEvent]:
    """What all `count` choices begin with."""
    for event in events:
        for choice in range(count):
            yield msgspec.structs.replace(event, choice=choice)


async def _admitted(merged: Merged[FromSequence], count: int) -> deque[tuple[int, FromSequence]]:
    """Wait until all have a place; what some have said by then."""
    early = deque[tuple[int, FromSequence]]()
    while count:
        choice, message = await merged.next()
        if isinstance(message, Accepted):
            count -= 1
        else:
            early.append((choice, message))
    return early


def _usage_of(answers: Sequence[Answer]) -> Usage:
    """The prompt once, as the first choice found it, and the tokens of all choices."""
    return replace(
        answers[0].usage(),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
        reasoning_tokens=sum(answer.reasoning_tokens for answer in answers),
    )


def _timing_of(timings: Sequence[Timing]) -> Timing:
    """Up to the first choice's first token as it was, then until the last choice ended."""
    return timings[0].until(max(timing.total_s for timing in timings))
