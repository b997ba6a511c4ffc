"""The answer as server-sent events: bytes from a template, tokens that are ready in one write.

A stream costs one task, and a token costs an encoded string and its share of a write: no timer and
no task of its own. While tokens are ready faster than the loop asks for them they are collected;
the moment the next one has to be waited for, what was collected goes to the socket. A client for
whom a read costs more than a token's place in it (a browser) may ask for a time between two writes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import replace
from types import coroutine
from typing import Any

import msgspec
from starlette.types import Send

from headrace.api.answers import AnswerHead, Tally, usage_object
from headrace.api.choice import call_deltas, logprobs_object
from headrace.api.problems import as_ours, body_of, status_of
from headrace.api.schemas import StreamUsage
from headrace.errors import EngineError
from headrace.telemetry.logs import Event
from headrace.types import FinishReason, TokenEvent, Usage

logger = logging.getLogger("headrace.api")

KEEP_ALIVE_S = 15.0
STALLED_BEATS = 4  # a write that waits this many keep-alive periods: the client reads no more
FAST_TOKENS = 8  # in the time between two writes; fewer are written as they come
MAX_JOINED = 64  # events of one write; after as many the loop gets a turn
MAX_JOINED_IN_TURN = 1_024  # the same for who asks for a time between two writes

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_DONE = b"data: [DONE]\n\n"
_KEEP_ALIVE = b": keep-alive\n\n"

_UNCOUNTED = b',"usage":null}\n\n'  # how a chunk ends where usage comes apart

_encode = msgspec.json.Encoder().encode


def _counted(chunks: bytes, used: Usage) -> bytes:
    """`chunks` with what was used so far in the place of none.

    Nothing in a JSON text can look like that place: there a quote and a newline are escaped.
    """
    return chunks.replace(_UNCOUNTED, b',"usage":%b}\n\n' % _encode(usage_object(used)))


class ChunkTemplate:
    """The chunks of one stream. What they share is encoded once.

    Usage comes once per stream: on the last finish chunk when the caller said nothing, on a chunk
    of its own when asked for, not at all when declined. Who asks for it on every chunk gets what
    was used so far there, and tokens that were ready together in one chunk.
    """

    kind = "chat.completion.chunk"
    shows_silent = False  # whether a token that wrote nothing has a chunk, too

    def __init__(self, head: AnswerHead, usage: StreamUsage, choices: int = 1) -> None:
        opening = _encode(head.opening(self.kind))[:-1]
        self._opening = opening
        self._head = head
        self._usage = usage
        self._is_apart = usage in (StreamUsage.APART, StreamUsage.EVERY)
        self._tail = _UNCOUNTED if self._is_apart else b"}\n\n"
        self._before = [
            b'data: %b,"choices":[{"index":%d,"delta":' % (opening, index)
            for index in range(choices)
        ]
        self._before_text = [before + b'{"content":' for before in self._before]
        self._after = b',"finish_reason":null,"logprobs":null}]' + self._tail
        self._after_text = b"}" + self._after
        self._between_texts = [self._after_text + before for before in self._before_text]
        self._no_choices = b"data: " + opening + b',"choices":[],'

    def roles(self, prompt: Usage | None) -> list[bytes]:
        """The first chunks, one for each choice, of an answer to a prompt that used so much."""
        role = b'{"role":"assistant","content":""}'
        chunks = [before + role + self._after for before in self._before]
        if self._usage is StreamUsage.EVERY and prompt is not None:
            return [_counted(chunk, replace(prompt, completion_tokens=0)) for chunk in chunks]
        return chunks

    def chunks(self, event: TokenEvent, tally: Tally) -> list[bytes]:
        """All that `event` says, which `tally` has counted, and the end of its choice."""
        is_counted = self._usage is StreamUsage.EVERY
        made: list[bytes] = []
        if event.reasoning or event.calls or event.reasoning_logprobs:
            made.append(self.told(event))
        elif event.text or event.logprobs or (self.shows_silent and event.token_ids):
            whole = msgspec.structs.replace(event, parts=()) if is_counted else event
            made.append(self.text(whole))
        if event.finish is not None:
            made.append(self.finish(event.choice, event.finish, tally))
        return [_counted(chunk, tally.usage) for chunk in made] if is_counted else made

    def text(self, event: TokenEvent) -> bytes:
        """A piece of the answer: a chunk for each token that wrote something.

        With log-probabilities, one chunk that has those of its tokens too.
        """
        before = self._before_text[event.choice]
        if event.parts and not event.logprobs:
            texts = map(_encode, filter(None, event.parts))
            return before + self._between_texts[event.choice].join(texts) + self._after_text
        chunk = before + _encode(event.text)
        if not event.logprobs:
            return chunk + self._after_text
        logprobs = _encode(logprobs_object(event.logprobs))
        return chunk + b'},"finish_reason":null,"logprobs":' + logprobs + b"}]" + self._tail

    def told(self, event: TokenEvent) -> bytes:
        """What was told apart: the thought, the text, then a chunk for each piece of a call."""
        deltas: list[dict[str, Any]] = []
        if event.reasoning:
            deltas.append({"reasoning": event.reasoning})
        if event.text:
            deltas.append({"content": event.text})
        deltas += [{"tool_calls": [delta]} for delta in call_deltas(event)]
        if not deltas:
            deltas.append({})
        before, chunks = self._before[event.choice], list[bytes]()
        for number, delta in enumerate(deltas):
            rest = _encode(_facts(event) if number == 0 else _NO_FACTS)[1:] + b"]" + self._tail
            chunks.append(before + _encode(delta) + b"," + rest)
        return b"".join(chunks)

    def finish(self, choice: int, reason: FinishReason, tally: Tally) -> bytes:
        """The end of a choice, and after the last one usage where the caller expects it."""
        chunk = self.end(choice, reason)
        if self._usage is StreamUsage.LAST and tally.is_complete:
            return chunk + b"," + _encode(self._head.closing(tally))[1:] + b"\n\n"
        chunk += self._tail
        if self._is_apart and tally.is_complete:
            chunk += self._no_choices + _encode(self._head.closing(tally))[1:] + b"\n\n"
        return chunk

    def end(self, choice: int, reason: FinishReason) -> bytes:
        """The end of a choice, up to what may follow `choices`."""
        before = self._before[choice]
        return before + b'{},"finish_reason":' + _encode(reason) + b',"logprobs":null}]'

    def error(self, error: Exception, tally: Tally, request_id: str) -> bytes:
        """The end of an answer that broke off."""
        ours = as_ours(error)
        body = body_of(ours, request_id)
        body |= {
            "status_code": status_of(ours),
            "choices": [],  # one client library crashes without
            "usage": usage_object(tally.usage),
        }
        return b"data: " + _encode(body) + b"\n\n"


_NO_FACTS: dict[str, Any] = {"finish_reason": None, "logprobs": None}


def _facts(event: TokenEvent) -> dict[str, Any]:
    """What stands beside the delta in a chunk of `event`."""
    facts = dict(_NO_FACTS)
    if event.logprobs:
        facts["logprobs"] = logprobs_object(event.logprobs)
    if event.reasoning_logprobs:
        facts["reasoning_logprobs"] = logprobs_object(event.reasoning_logprobs)
    return facts


class EventStream:
    """One response of events on one ASGI connection."""

    def __init__(self, send: Send, wire: Send) -> None:
        """`send` is for its beginning and its end, which others watch, `wire` for all between.

        Those who stand between the two would cost a write some 2 us, and have nothing to do.
        """
        self._send = send
        self._wire = wire
        self._pending: list[bytes] = []
        self._is_open = False
        self._is_writing = False
        self._interval_s = 0.0  # between two writes
        self._most_joined = MAX_JOINED
        self._next_write_s = 0.0  # of the loop's clock: not before then
        self._token_s = 0.0  # of the loop's clock: when the last one came
        self._due: asyncio.TimerHandle | None = None  # the write whose time will come
        self._late: asyncio.Task[None] | None = None  # the write whose time has come
        self._writes = 0
        self._writes_at_beat = 0
        self._stalled_beats = 0

    async def run(
        self,
        template: ChunkTemplate,
        events: AsyncGenerator[TokenEvent, None],
        *,
        first: TokenEvent,
        tally: Tally,
        request_id: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        interval_s: float = 0.0,
    ) -> None:
        """Send `first` and the rest of `events`, and the end whatever it is; keeps `tally`.

        `interval_s`: the least time between two writes where more than FAST_TOKENS come in it. The
        first token goes at once, and so do MAX_JOINED_IN_TURN events, one after a longer silence,
        the end.
        """
        start = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]}
        await self._send(start)
        self._is_open = True
        self._pending += template.roles(first.usage)
        self._interval_s = interval_s
        self._most_joined = MAX_JOINED_IN_TURN if interval_s else MAX_JOINED
        before_waiting = self._flush_in_turn if interval_s else self._flush
        try:
            event, taken = first, 0
            has_begun = False  # with a token, not only with a role
            while True:
                tally.add(event)
                if not has_begun:
                    self._next_write_s = 0.0
                    has_begun = tally.completion_tokens > 0
                self._pending += template.chunks(event, tally)
                if tally.is_complete:
                    self._pending.append(_DONE)
                    break
                taken += 1
                if taken % MAX_JOINED == 0 or len(self._pending) >= self._most_joined:
                    await self._give_turn()
                event = await _next(events, before_waiting)
        except Exception as exc:  # the status is spent: the stream says what happened
            tally.failure = as_ours(exc)
            logger.error(Event("stream_failed", request_id=request_id), exc_info=exc)
            self._pending.append(template.error(exc, tally, request_id))  # and no [DONE]
        except BaseException:  # nobody reads on
            self._stop_writing()
            raise
        await self._flush(more=False)

    async def beat(self) -> bool:
        """Call every KEEP_ALIVE_S: fills a silence with a comment; False: the client is stuck."""
        if self._is_writing:
            self._stalled_beats += 1
            return self._stalled_beats < STALLED_BEATS
        self._stalled_beats = 0
        if self._is_open and self._writes == self._writes_at_beat:
            await self._write(_KEEP_ALIVE, more=True)
        self._writes_at_beat = self._writes
        return True

    async def _flush(self, *, more: bool = True) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._late is not None:
            late, self._late = self._late, None
            await late
        await self._write_pending(more=more)

    async def _give_turn(self) -> None:
        """Let others have the loop, though there is more; what is first, or much, goes before."""
        if self._writes == 0 or len(self._pending) >= self._most_joined:
            await self._flush()
        await asyncio.sleep(0)

    async def _flush_in_turn(self) -> None:
        """Write what is pending: now, or when the time between two writes is over."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        is_fast = now_s - self._token_s < self._interval_s / FAST_TOKENS
        self._token_s = now_s
        if self._due is not None or not self._pending:
            return
        if is_fast and now_s < self._next_write_s:
            self._due = loop.call_at(self._next_write_s, self._begin_late)
            return
        self._next_write_s = now_s + self._interval_s
        await self._flush()

    def _begin_late(self) -> None:
        self._due = None
        loop = asyncio.get_running_loop()
        self._next_write_s = loop.time() + self._interval_s
        late = self._late
        if late is None or (late.done() and late.exception() is None):  # else `_flush` sees to it
            self._late = loop.create_task(self._write_pending())

    def _stop_writing(self) -> None:
        for begun in (self._due, self._late):
            if begun is not None:
                begun.cancel()

    async def _write_pending(self, *, more: bool = True) -> None:
        while self._pending:  # more may come while a slow client takes what was written
            joined = b"".join(self._pending)
            self._pending.clear()
            await self._write(joined, more=more)

    async def _write(self, body: bytes, *, more: bool) -> None:
        self._is_writing = True
        self._is_open = more
        self._writes += 1
        try:
            send = self._wire if more else self._send
            await send({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            self._is_writing = False


@coroutine
def _next(
    events: AsyncGenerator[TokenEvent, None], before_waiting: Callable[[], Awaitable[None]]
) -> Generator[Any, Any, TokenEvent]:
    """The next event; if it is not there yet, `before_waiting` runs before the wait.

    This is `await anext(events)` with its first step taken by hand: a step that ends at once was
    ready, one that yields has to wait for what it yielded.
    """
    step = events.__anext__().__await__()
    try:
        waits_for = step.send(None)
        try:
            yield from before_waiting().__await__()
        except BaseException as exc:  # noqa: BLE001 (a cancellation is the step's to handle)
            waits_for = step.throw(exc)
        while True:
            try:
                answer = yield waits_for
            except BaseException as exc:  # noqa: BLE001 (as above)
                waits_for = step.throw(exc)
            else:
                waits_for = step.send(answer)
    except StopIteration as ready:
        return ready.value
    except StopAsyncIteration:
        raise EngineError("the stream ended without a finish reason") from None
