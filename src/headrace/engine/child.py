"""An engine process, seen from the front that started it."""

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import suppress

from headrace.engine.connection import EngineConnection, OnMessages
from headrace.engine.launch import Launched, launch
from headrace.engine.messages import Start, ToEngine
from headrace.engine.wire import frame

LEAVE_S = 5.0  # from the closing of the socket to the end of the process: a step may be running


class EngineChild:
    """One process, from its start to its end. Made by `start_child`."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: EngineConnection) -> None:
        self._process = process
        self._connection = connection

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: ToEngine) -> None:
        """Hand a message to the engine; never blocks."""
        self._connection.send(message)

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._process.kill()
        self._connection.close()

    async def close(self) -> str:
        """Let go of it and see it end, by force if it takes too long. Says how it ended."""
        self._connection.close()
        try:
            code = await asyncio.to_thread(self._process.wait, LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = await asyncio.to_thread(self._process.wait)
        return f"signal {-code}" if code < 0 else f"exit status {code}"


async def start_child(
    start: Start, on_messages: OnMessages, on_lost: Callable[[], None]
) -> EngineChild:
    """Launch a process and tell it what to load; what it says goes to `on_messages`.

    Raises OSError when the system cannot start one.
    """
    launched = launch()
    tell(launched, start)
    return await follow_child(launched, on_messages, on_lost)


def tell(launched: Launched, start: Start) -> None:
    """Tell a launched process what to load: it begins, whoever listens."""
    with suppress(ConnectionError):  # it died: whoever follows it will see
        launched.sock.sendall(frame([start]))


async def follow_child(
    launched: Launched, on_messages: OnMessages, on_lost: Callable[[], None]
) -> EngineChild:
    """Hear what a process says that was told its `Start`, and answer for it from now on."""
    connection = await EngineConnection.open(launched.sock, on_messages, on_lost)
    return EngineChild(launched.process, connection)
