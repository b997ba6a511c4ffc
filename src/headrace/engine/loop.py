"""The engine's end of the socket: hear, step, say, until the front closes it.

One thread does everything. Between two calls of the backend it looks whether something was said to
it and sends what the call gave, or keeps it for the next one (`engine.hold`). It never waits for a
front that does not read: what cannot be sent is kept and joined (`engine.outbox`), so a slow front
makes larger frames, not a slower engine.
"""

import select
import socket
from collections.abc import Sequence

from headrace.clock import Clock
from headrace.engine.engine import Engine
from headrace.engine.hold import Hold
from headrace.engine.messages import FromEngine, Stats, ToEngine
from headrace.engine.outbox import Outbox
from headrace.engine.wire import FrameReader, frame

STATS_EVERY_S = 0.1
RECEIVE_BYTES = 1 << 18
PREPARE_AFTER_S = 1.0  # of idleness: then what the first grammar needs is made


class EngineLoop:
    """Runs `engine` for the front at the other end of `sock`."""

    def __init__(self, engine: Engine, sock: socket.socket, clock: Clock) -> None:
        sock.setblocking(False)
        self._engine = engine
        self._sock = sock
        self._clock = clock
        self._reader = FrameReader[ToEngine](ToEngine)  # pyright: ignore[reportArgumentType]
        self._outbox = Outbox()
        self._hold = Hold()
        self._unsent = memoryview(b"")  # the rest of the frame that is on its way
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._grammars = engine.grammars.fileno() if engine.grammars is not None else -1
        if self._grammars >= 0:
            self._poll.register(self._grammars, select.POLLIN)
        self._awaits_room = False  # in the socket, for what is unsent
        self._is_open = True
        self._told: Stats = Stats()
        self._told_s = clock.now_s()

    def run(self) -> None:
        """Serve until the front closes the socket; what is unfinished then stays unfinished."""
        engine = self._engine
        while self._is_open:
            self._listen(wait=engine.is_idle)
            if engine.is_idle or not self._is_open:
                self._say(self._news())
                continue
            began_s = self._clock.now_s()
            try:
                said = engine.step()
            except Exception as exc:  # noqa: BLE001 (the engine loop: turned into typed errors)
                said = engine.fail_all(exc)
            self._outbox.put([*said, *self._news()])
            if not self._hold.may_wait(said, began_s, self._clock.now_s()):
                self._send()

    def _listen(self, *, wait: bool) -> None:
        found = self._poll.poll(self._patience_ms() if wait else 0)
        if wait and not found and self._engine.grammars is not None:
            self._engine.grammars.prepare()
        for place, event in found:
            if place == self._grammars:
                self._say(self._engine.compiled())
                continue
            if event & select.POLLOUT:
                self._send()
            if event & ~select.POLLOUT:
                self._hear()

    def _patience_ms(self) -> float | None:
        """How long an idle engine waits for a message; None: as long as it takes."""
        grammars = self._engine.grammars
        return None if grammars is None or grammars.is_prepared else 1e3 * PREPARE_AFTER_S

    def _hear(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._is_open = False
        for messages in self._reader.feed(data):
            for message in messages:
                self._say(self._engine.handle(message))

    def _say(self, messages: Sequence[FromEngine]) -> None:
        """Send now, with what was held."""
        if messages:
            self._outbox.put(messages)
            self._hold.clear()
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent or self._outbox:
                if not self._unsent:
                    self._unsent = memoryview(frame(self._outbox.take()))
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._is_open = False
        if self._awaits_room != bool(self._unsent):
            self._awaits_room = not self._awaits_room
            events = select.POLLIN | (select.POLLOUT if self._awaits_room else 0)
            self._poll.modify(self._sock, events)

    def _news(self) -> Sequence[Stats]:
        """The counters, if it is time for them, or if they are the last for now."""
        now_s = self._clock.now_s()
        if now_s - self._told_s < STATS_EVERY_S and not self._engine.is_idle:
            return ()
        stats = self._engine.stats()
        if stats == self._told:
            return ()
        self._told_s, self._told = now_s, stats
        return (stats,)
