"""uvicorn's HTTP/1.1 protocol with bounds it lacks: on headers, and on bodies nobody reads.

And with one liberty: an answer may bring header lines that are formatted already. uvicorn looks at
each header twice and copies it in four pieces, which for the many that tell how limits stand takes
as long as all that is done to know them.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace.api.problems import body_of
from headrace.errors import InvalidRequest

MAX_HEADER_BYTES = 64 * 1024
HEADER_DEADLINE_S = 15.0
LINGER_BYTES = 64 * 1024 * 1024  # of a refused body, thrown away so that the refusal can be read
LINGER_S = 15.0
LINES = "headrace.header_lines"  # in an answer's start, where the scope's extensions have it: bytes

_REFUSAL = InvalidRequest(
    f"this is not HTTP/1.1, or its headers are larger than {MAX_HEADER_BYTES} bytes",
    param="headers",
)


_EXTENSIONS: dict[str, dict[object, object]] = {LINES: {}}


class _Cycle(RequestResponseCycle):
    """One exchange. Header lines that come with its start are sent as they are, after the others.

    They end with a line's end each, and whoever makes them answers for what stands in them.
    """

    async def send(self, message: Any) -> None:
        """Pass an event of the answer on."""
        lines: bytes | None = message.get(LINES)
        if lines is None:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()  # now, so that nothing waits while the transport is another
        transport = self.transport
        self.transport = _BeforeLastLine(transport, lines)
        try:
            await super().send(message)
        finally:
            self.transport = transport


class _BeforeLastLine:
    """A transport for one write: a head, which gets some more lines before the empty one."""

    def __init__(self, transport: asyncio.Transport, lines: bytes) -> None:
        self._transport = transport
        self._lines = lines

    def write(self, head: bytes) -> None:
        """Write the head."""
        self._transport.write(head[:-2] + self._lines + b"\r\n")


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. A client has a deadline for its headers, and a limit on their size."""

    _deadline: asyncio.TimerHandle | None = None
    _in_headers = True
    _headers_ended = False  # within the data just parsed
    _header_bytes = 0  # of the finished headers of this request
    _raw_bytes = 0  # received while its headers are open
    _lingering_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The client is there, and should speak."""
        super().connection_made(transport)
        self._set_deadline(HEADER_DEADLINE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a header that has no end in sight is refused."""
        if self._in_headers and self._deadline is None:
            self._set_deadline(HEADER_DEADLINE_S)
        began_in_headers = self._in_headers
        self._headers_ended = False
        super().data_received(data)
        if began_in_headers and not self._headers_ended:
            self._raw_bytes += len(data)
            if self._raw_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("headers too large")

    def on_message_begin(self) -> None:
        """A client begins to ask."""
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a refusal raised here reaches the client through uvicorn's own."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise _REFUSAL
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._in_headers = False
        self._headers_ended = True
        self._header_bytes = self._raw_bytes = 0
        self._lingering_bytes = 0
        self._clear_deadline()
        super().on_headers_complete()
        self._cycle.__class__ = _Cycle  # uvicorn has no place to say which; nothing has run yet

    def on_body(self, body: bytes) -> None:
        """A piece of the body; after the answer it is thrown away, up to a limit."""
        if self._cycle.response_complete:
            self._lingering_bytes += len(body)
            if self._lingering_bytes > LINGER_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is read to its end."""
        self._in_headers = True
        super().on_message_complete()
        if self._cycle.response_complete:
            self._cycle.more_body = False
            self._clear_deadline()
            self._set_deadline(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """The answer is out; what is left of the body has a deadline."""
        super().on_response_complete()
        if self._cycle.response_complete and self._cycle.more_body:
            self._set_deadline(LINGER_S)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP with the usual error body, and close."""
        body = msgspec.json.encode(body_of(_REFUSAL, ""))
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    @property
    def _cycle(self) -> RequestResponseCycle:
        return self.cycle

    def _set_deadline(self, after_s: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(after_s, self.transport.close)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
