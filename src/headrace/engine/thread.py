"""The engine on a thread of its own, behind the message seam.

Messages cross in both directions without locks: a queue in, a deque out. The front is woken once,
however many messages wait; it is not woken again before it has looked.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from headrace.engine.engine import Engine
from headrace.engine.messages import ToEngine, ToFront

log = logging.getLogger(__name__)


class EngineThread:
    """Runs `engine` until stopped. `wake` is called from the engine's thread."""

    def __init__(self, engine: Engine, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._wake = wake
        self._inbox: SimpleQueue[ToEngine | None] = SimpleQueue()
        self._outbox: deque[ToFront] = deque()
        self._front_is_awake = False
        self._thread = threading.Thread(target=self._run, name="headrace-engine", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()

    def send(self, message: ToEngine) -> None:
        """Hand a message to the engine; never blocks."""
        self._inbox.put(message)

    def receive(self) -> list[ToFront]:
        """All messages that wait, oldest first. Called by the front after each wake."""
        self._front_is_awake = False  # before looking: a message that comes now wakes again
        messages: list[ToFront] = []
        while self._outbox:
            messages.append(self._outbox.popleft())
        return messages

    def stop(self) -> None:
        """End the thread after the step in progress; what is unfinished stays unfinished."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join()

    def _run(self) -> None:
        engine, inbox = self._engine, self._inbox
        while True:
            while engine.is_idle or not inbox.empty():
                message = inbox.get()
                if message is None:
                    return
                self._emit(engine.handle(message))
            try:
                self._emit(engine.step())
            except Exception as exc:  # noqa: BLE001 (the engine loop: turned into typed errors)
                self._emit(engine.fail_all(exc))

    def _emit(self, messages: list[ToFront]) -> None:
        if not messages:
            return
        self._outbox.extend(messages)
        if not self._front_is_awake:
            self._front_is_awake = True
            self._wake()
