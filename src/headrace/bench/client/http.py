"""HTTP/1.1 for timing: bytes are stamped as the event loop hands them over, and read later.

A library's client parses, buffers and wakes a task before anybody can look at the clock. Here the
protocol's callback looks first; what the bytes mean is found out when the answer is over.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

from headrace import __version__
from headrace.bench.client.exchange import Exchange
from headrace.bench.client.framing import AnswerFraming, BadFraming
from headrace.clock import Clock
from headrace.errors import ConfigError

_CONNECT_TIMEOUT_S = 10.0


class HttpTransport:
    """Posts to `url`'s chat completions; idle connections are kept and used again."""

    def __init__(
        self, url: str, clock: Clock, *, key: str | None = None, timeout_s: float = 300.0
    ) -> None:
        """`timeout_s` bounds one exchange. Raises ConfigError for an address that is none."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as exc:
            raise ConfigError(f"not an address of an endpoint: {url}: {exc}") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"not an address of an endpoint: {url}")
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        base = parts.path.rstrip("/").removesuffix("/v1")
        self._head = (
            f"POST {base}/v1/chat/completions HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}"
            f"\r\nuser-agent: headrace-bench/{__version__}\r\ncontent-type: application/json\r\n"
            "accept: text/event-stream\r\n"
        )
        if key:
            self._head += f"authorization: Bearer {key}\r\n"
        self._clock = clock
        self._timeout_s = timeout_s
        self._idle: list[_Wire] = []

    async def post(
        self, body: bytes, on_piece: Callable[[float, bytes], None] | None = None
    ) -> Exchange:
        """Send `body` and wait for the end of the answer."""
        began_s = self._clock.now_s()
        if (wire := self._kept()) is not None:
            found = await self._ask(wire, body, on_piece)
            # Closed while idle, before it could be seen: nobody read the request.
            if not wire.was_closed_unread:
                return found
        opened_s = self._clock.now_s()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                wire = await self._connect()
        except (OSError, TimeoutError) as exc:
            fault = f"no connection: {str(exc) or 'timed out'}"
            return Exchange(sent_s=began_s, ended_s=self._clock.now_s(), fault=fault)
        connect_s = self._clock.now_s() - opened_s
        return replace(await self._ask(wire, body, on_piece), connect_s=connect_s)

    async def _ask(
        self, wire: "_Wire", body: bytes, on_piece: Callable[[float, bytes], None] | None
    ) -> Exchange:
        head = f"{self._head}content-length: {len(body)}\r\n\r\n".encode()
        sent_s = self._clock.now_s()
        ended = wire.ask(head + body, on_piece)
        try:
            async with asyncio.timeout(self._timeout_s):
                fault = await ended
        except TimeoutError:
            fault = f"no end within {self._timeout_s:g} s"
            wire.close()
        except asyncio.CancelledError:
            wire.close()
            raise
        if wire.may_be_kept:
            self._idle.append(wire)
        else:
            wire.close()
        return Exchange(
            sent_s=sent_s,
            status=wire.framing.status,
            is_stream=wire.framing.headers.get("content-type", "").startswith("text/event-stream"),
            arrivals=tuple(wire.arrivals),
            ended_s=wire.last_s if not fault else self._clock.now_s(),
            fault=fault,
        )

    async def close(self) -> None:
        """Close the connections kept."""
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)

    def _kept(self) -> "_Wire | None":
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                return wire
        return None

    async def _connect(self) -> "_Wire":
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            lambda: _Wire(self._clock), self._host, self._port, ssl=self._tls
        )
        return wire


class _Wire(asyncio.Protocol):
    """A connection, with one answer at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.framing = AnswerFraming()
        self.arrivals: list[tuple[float, bytes]] = []
        self.last_s = 0.0
        self.is_open = False
        self._was_lost = False
        self._ended: asyncio.Future[str] | None = None
        self._on_piece: Callable[[float, bytes], None] | None = None

    @property
    def may_be_kept(self) -> bool:
        """Whether the last answer came whole and the connection lasts."""
        return self.is_open and self.framing.is_complete and self.framing.keeps_alive

    @property
    def was_closed_unread(self) -> bool:
        """Whether the other side closed the connection without a byte of an answer."""
        return self._was_lost and not self.framing.status

    def ask(
        self, message: bytes, on_piece: Callable[[float, bytes], None] | None
    ) -> "asyncio.Future[str]":
        """Write a request; the future gives the fault, "" for none."""
        self.framing = AnswerFraming()
        self.arrivals = []
        self._on_piece = on_piece
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return self._ended

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        now_s = self._clock.now_s()
        self.last_s = now_s
        try:
            piece = self.framing.feed(data)
        except BadFraming as exc:
            self._end(str(exc))
            return
        if piece:
            self.arrivals.append((now_s, piece))
            if self._on_piece is not None:
                self._on_piece(now_s, piece)
        if self.framing.is_complete:
            self._end("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._was_lost = self.is_open  # else it was closed here
        self.is_open = False
        self.last_s = self._clock.now_s()
        self._end("" if self.framing.close() else f"the connection broke off: {exc or 'closed'}")

    def _end(self, fault: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(fault)
