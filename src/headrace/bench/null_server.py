"""An endpoint that follows a script: exact delays, any number of tokens an event, faults.

It judges the benchmark itself: what is measured must be what the script says. Its own
times are good to a fraction of a millisecond while few streams are open. One timer drives all
streams, whose events are written down beforehand: many of them cost little.
"""

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec

from headrace.clock import Clock, SystemClock

_TIMER_S = 0.0015  # how late a timer of the event loop may be, and more
_POLLED = 8  # streams at once that may; many would keep a processor busy
_OK = 200
_KIND: dict[str, Any] = {"id": "null", "object": "chat.completion.chunk", "model": "null"}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WORDS = ("and", "then", "the", "ship", "came", "home", "with", "oil")


@dataclass(frozen=True, slots=True, kw_only=True)
class NullScript:
    """What each answer is. Times in seconds after the request arrived."""

    first_s: float = 0.05
    gap_s: float = 0.01  # between events
    tokens: int = 64  # at most as many as the request asks for
    tokens_an_event: int = 1
    role_first: bool = True  # a first event without content, at once
    reasoning_tokens: int = 0  # of `tokens`, the first ones
    status: int = 200
    cut_after: int | None = None  # events, then the connection is closed
    has_usage: bool = True
    held: int = 1  # events of content that a proxy lets go together, when the last of them is due

    def answer(self, asked: int) -> "list[tuple[float, dict[str, Any]]]":
        """Events and when they are due; usage is not among them."""
        events: list[tuple[float, dict[str, Any]]] = []
        if self.role_first:
            events.append((0.0, _chunk({"role": "assistant", "content": ""})))
        total, written, due_s = min(self.tokens, asked), 0, self.first_s
        while written < total:
            is_thought = written < self.reasoning_tokens
            end = self.reasoning_tokens if is_thought else total
            count = min(self.tokens_an_event, end - written, total - written)
            text = "".join(f"{_WORDS[i % len(_WORDS)]} " for i in range(written, written + count))
            events.append((due_s, _chunk({"reasoning" if is_thought else "content": text})))
            written += count
            due_s += self.gap_s
        events = self._held_back(events)
        events.append((events[-1][0], _chunk({}, finish="length")))
        return events

    def _held_back(
        self, events: list[tuple[float, dict[str, Any]]]
    ) -> list[tuple[float, dict[str, Any]]]:
        first = int(self.role_first)
        found = events[:first]
        for begin in range(first, len(events), self.held):
            group = events[begin : begin + self.held]
            found += [(group[-1][0], event) for _, event in group]
        return found


@dataclass(frozen=True, slots=True)
class _Written:
    """An answer as bytes, with their times after the request."""

    parts: tuple[tuple[float, bytes], ...]
    words: int
    is_cut: bool


@lru_cache(maxsize=64)
def _written(script: NullScript, asked: int) -> _Written:
    """What the script sends for a request of `asked` tokens, its head first, its end left out."""
    events = script.answer(asked)
    deltas = [event["choices"][0]["delta"] for _, event in events]
    words = sum(len(str(text).split()) for d in deltas for k, text in d.items() if k != "role")
    kept = events[: script.cut_after]
    parts: list[tuple[float, bytes]] = [(0.0, _HEAD)]
    for due_s, event in kept:
        data = _framed(_event(event))
        if parts[-1][0] == due_s:
            parts[-1] = (due_s, parts[-1][1] + data)
        else:
            parts.append((due_s, data))
    return _Written(parts=tuple(parts), words=words, is_cut=len(kept) < len(events))


class NullServer:
    """Serves a script on loopback, to any number of connections."""

    def __init__(self, script: NullScript) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._beat = _Beat(SystemClock())
        self._talks: set[_Talk] = set()

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1; the address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Talk(self._script, self._beat, self._talks), "127.0.0.1", port, backlog=4_096
        )
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close the port and all connections."""
        assert self._server is not None
        self._server.close()
        self._beat.stop()
        for talk in list(self._talks):
            talk.transport.close()
        await self._server.wait_closed()


class _Beat:
    """Wakes streams when their next bytes are due: one timer for all.

    The loop's own time will not do: uvloop's stands still between two rounds, in milliseconds.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, _Talk]] = []
        self._numbers = itertools.count()  # so that streams themselves are not compared
        self._timer: asyncio.Handle | None = None

    def add(self, due_s: float, talk: "_Talk") -> None:
        """Wake `talk` at `due_s`, on its clock."""
        is_next = not self._due or due_s < self._due[0][0]
        heapq.heappush(self._due, (due_s, next(self._numbers), talk))
        if is_next:
            self._set()

    def stop(self) -> None:
        """Wake nobody any more."""
        self._due.clear()
        self._set()

    def _set(self) -> None:
        """Timers round up to a millisecond: few streams poll the last one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._due:
            return
        loop = asyncio.get_running_loop()
        due_s, is_polled = self._due[0][0], len(self._due) <= _POLLED
        wait_s = due_s - self.clock.now_s() - (_TIMER_S if is_polled else 0.0)
        if wait_s > 0:
            self._timer = loop.call_later(wait_s, self._wake)
        else:
            self._timer = loop.call_soon(self._wake)

    def _wake(self) -> None:
        now_s = self.clock.now_s()
        due = self._due
        while due and due[0][0] <= now_s:
            talk = due[0][2]
            next_s = talk.write_next()
            if next_s is None:
                heapq.heappop(due)
            else:
                heapq.heapreplace(due, (next_s, next(self._numbers), talk))
        self._set()


class _Talk(asyncio.Protocol):
    """A connection, with one answer at a time."""

    transport: asyncio.Transport

    def __init__(self, script: NullScript, beat: _Beat, talks: "set[_Talk]") -> None:
        self._script = script
        self._beat = beat
        self._talks = talks
        self._held = b""
        self._answer: _Written | None = None
        self._at = 0  # of the answer's parts
        self._began_s = 0.0
        self._prompt_tokens = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._talks.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer = None
        self._talks.discard(self)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, rest = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        told = head.decode("latin-1").lower()
        if told.startswith("get "):
            self._held = rest
            self.transport.write(_whole(200, {"data": [{"id": "null", "object": "model"}]}))
            return
        length = int(told.split("content-length:")[1].split()[0])
        if len(rest) >= length:
            self._held = rest[length:]
            self._begin(msgspec.json.decode(rest[:length]))

    def _begin(self, body: dict[str, Any]) -> None:
        script = self._script
        if script.status != _OK:
            self.transport.write(_whole(script.status, {"error": {"message": "as scripted"}}))
            return
        most = body.get("max_completion_tokens") or body.get("max_tokens") or script.tokens
        self._began_s = self._beat.clock.now_s()
        self._prompt_tokens = _prompt_words(body)
        self._answer, self._at = _written(script, int(most)), 0
        if (next_s := self.write_next()) is not None:
            self._beat.add(next_s, self)

    def write_next(self) -> float | None:
        """Write what is due; when the rest is, None where there is none."""
        answer = self._answer
        if answer is None:  # the client has left
            return None
        self.transport.write(answer.parts[self._at][1])
        self._at += 1
        if self._at < len(answer.parts):
            return self._began_s + answer.parts[self._at][0]
        self._answer = None
        if answer.is_cut:
            self.transport.close()
        else:
            self.transport.write(self._end(answer))
        return None

    def _end(self, answer: _Written) -> bytes:
        usage: dict[str, Any] = _KIND | {
            "choices": [],
            "usage": {"prompt_tokens": self._prompt_tokens, "completion_tokens": answer.words},
        }
        told = _framed(_event(usage)) if self._script.has_usage else b""
        return told + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _whole(status: int, value: object) -> bytes:
    told = msgspec.json.encode(value)
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(told)}\r\n\r\n".encode() + told


def _prompt_words(body: dict[str, Any]) -> int:
    """Words of the messages: this server's tokens."""
    return sum(len(str(message.get("content") or "").split()) for message in body["messages"])


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return _KIND | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
