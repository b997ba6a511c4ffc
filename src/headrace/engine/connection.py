"""The front's end of the socket to an engine."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from headrace.engine.messages import FromEngine, Start, ToEngine
from headrace.engine.wire import FrameReader, frame

OnMessages = Callable[[list[FromEngine]], None]


class EngineConnection(asyncio.Protocol):
    """Sends messages and hears answers, on the event loop that opened it."""

    def __init__(self, on_messages: OnMessages, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called once, when the engine is gone or `close` was called."""
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._reader = FrameReader[FromEngine](FromEngine)  # pyright: ignore[reportArgumentType]
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls, sock: socket.socket, on_messages: OnMessages, on_lost: Callable[[], None]
    ) -> "EngineConnection":
        """A connection over a connected socket, which it owns from now on."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(on_messages, on_lost), sock=sock)
        return connection

    def send(self, message: ToEngine | Start) -> None:
        """Hand a message to the engine; never blocks. To a lost engine it goes nowhere."""
        if self._transport is not None:
            self._transport.write(frame([message]))

    def close(self) -> None:
        """Close the socket at once: the engine ends when it sees that."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio says: open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """asyncio says: bytes."""
        for messages in self._reader.feed(data):
            self._on_messages(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio says: closed."""
        self._transport = None
        self._on_lost()
