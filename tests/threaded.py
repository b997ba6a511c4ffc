"""An engine of the test's own making, on a thread, behind a real socket: an `OpenEngine`."""

import asyncio
import socket
import threading
from collections.abc import Callable

from headrace.clock import SystemClock
from headrace.engine import Engine, OpenEngine
from headrace.engine.connection import EngineConnection, OnMessages
from headrace.engine.loop import EngineLoop
from headrace.engine.messages import Started, ToEngine
from headrace.engine.wire import frame


class ThreadedEngine:
    """One life of `engine`: as `engine.child.EngineChild`, without the process."""

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self._sock = sock
        self._thread = threading.Thread(target=self._run, args=(engine,), daemon=True)
        self._thread.start()
        self.connection: EngineConnection | None = None

    def send(self, message: ToEngine) -> None:
        assert self.connection is not None
        self.connection.send(message)

    def kill(self) -> None:
        """What a dying process does to its socket."""
        assert self.connection is not None
        self.connection.close()

    async def close(self) -> str:
        self.kill()
        await asyncio.to_thread(self._thread.join, 10)
        assert not self._thread.is_alive(), "the engine's loop goes on without its front"
        return "in a test"

    def _run(self, engine: Engine) -> None:
        with self._sock:
            started = Started(backend="null", context_tokens=engine.context_tokens)
            self._sock.sendall(frame([started]))
            EngineLoop(engine, self._sock, SystemClock()).run()


def threaded(make_engine: Callable[[], Engine]) -> OpenEngine:
    """Opens a new engine on a thread for each life."""

    async def open_engine(on_messages: OnMessages, on_lost: Callable[[], None]) -> ThreadedEngine:
        ours, theirs = socket.socketpair()
        life = ThreadedEngine(make_engine(), theirs)
        life.connection = await EngineConnection.open(ours, on_messages, on_lost)
        return life

    return open_engine
