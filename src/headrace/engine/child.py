"""An engine process, seen from the front that started it."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable

from headrace.engine.connection import EngineConnection, OnMessages
from headrace.engine.messages import Start, ToEngine

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
    """Start a process and tell it what to load; what it says goes to `on_messages`.

    Raises OSError when the system cannot start one.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 (our own program; vfork, no wait)
                [sys.executable, "-P", "-m", "headrace.engine.process", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ours belongs to the command that runs
            )
        except OSError:
            ours.close()
            raise
    connection = await EngineConnection.open(ours, on_messages, on_lost)
    connection.send(start)
    return EngineChild(process, connection)
