"""An endpoint that follows a script: exact delays, any number of tokens an event, faults.

It judges the benchmark itself: what is measured must be what the script says. Its own
times are good to a fraction of a millisecond while few streams are open. One timer drives all
streams, whose events are written down beforehand: many of them cost little.
"""

import asyncio
import heapq
import itertools
from typing import Any, cast

import msgspec

from headrace.bench.null_script import NullScript, Written, write_down
from headrace.clock import Clock, SystemClock

_TIMER_S = 0.0015  # how late a timer of the event loop may be, and more
_POLLED = 8  # streams at once that may; many would keep a processor busy
_OK = 200


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
        self._answer: Written | None = None
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
        options: dict[str, Any] = body.get("stream_options") or {}
        is_counted = script.has_usage and bool(options.get("continuous_usage_stats"))
        self._answer, self._at = write_down(script, int(most), is_counted=is_counted), 0
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
            told = self._prompt_tokens if self._script.has_usage else None
            self.transport.write(answer.end(told))
        return None


def _whole(status: int, value: object) -> bytes:
    told = msgspec.json.encode(value)
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(told)}\r\n\r\n".encode() + told


def _prompt_words(body: dict[str, Any]) -> int:
    """Words of the messages: this server's tokens."""
    return sum(len(str(message.get("content") or "").split()) for message in body["messages"])
