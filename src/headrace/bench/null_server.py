"""An endpoint that follows a script: exact delays, any number of tokens an event, faults.

It judges the benchmark itself: what is measured must be what the script says. Its own
times are good to a fraction of a millisecond while few streams are open.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

_TIMER_S = 0.0015  # how late a timer of the event loop may be, and more
_POLLED = 8  # streams at once that may; many would keep a processor busy
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
        events.append((events[-1][0], _chunk({}, finish="length")))
        return events


class NullServer:
    """Serves a script on loopback, to any number of connections."""

    def __init__(self, script: NullScript) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1; the address."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close the port and all connections."""
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if head.startswith("get "):
            writer.write(_whole(200, {"data": [{"id": "null", "object": "model"}]}))
            return True
        length = int(head.split("content-length:")[1].split()[0])
        body = msgspec.json.decode(await reader.readexactly(length))
        began_s = asyncio.get_running_loop().time()
        script = self._script
        if script.status != 200:
            writer.write(_whole(script.status, {"error": {"message": "as the script says"}}))
            await writer.drain()
            return True
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        events = script.answer(int(body.get("max_tokens", script.tokens)))
        for sent, (due_s, event) in enumerate(events):
            if sent == script.cut_after:
                return False
            await self._until(began_s + due_s)
            writer.write(_framed(_event(event)))
        for data in _last(_prompt_words(body), events, script.has_usage):
            writer.write(_framed(data))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _until(self, due_s: float) -> None:
        """Wait in the loop; timers round up to a millisecond, so few streams poll the last one."""
        now_s = asyncio.get_running_loop().time
        is_polled = len(self._talks) <= _POLLED
        wait_s = due_s - now_s() - (_TIMER_S if is_polled else 0.0)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        while is_polled and now_s() < due_s:  # noqa: ASYNC110 (an event would need a timer)
            await asyncio.sleep(0)


def _whole(status: int, value: object) -> bytes:
    told = msgspec.json.encode(value)
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(told)}\r\n\r\n".encode() + told


def _prompt_words(body: dict[str, Any]) -> int:
    """Words of the messages: this server's tokens."""
    return sum(len(str(message.get("content") or "").split()) for message in body["messages"])


def _last(
    prompt_tokens: int, events: list[tuple[float, dict[str, Any]]], has_usage: bool
) -> Iterator[bytes]:
    if has_usage:
        deltas = [event["choices"][0]["delta"] for _, event in events]
        words = sum(len(str(text).split()) for d in deltas for k, text in d.items() if k != "role")
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": words}
        yield _event({"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
