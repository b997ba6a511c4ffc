"""The engine, for those who want sequences completed: one stream of messages per sequence."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from itertools import count

from headrace.clock import Clock
from headrace.engine.messages import (
    Cancel,
    Failed,
    FromSequence,
    Started,
    Stats,
    Submit,
    ToFront,
    Tokens,
    error_of,
)
from headrace.engine.supervisor import PATIENT, OpenEngine, Patience, Supervisor
from headrace.errors import EngineRestarting

PROBE_TOKENS = 2  # one that ends a prompt and one that decodes


class EngineClient:
    """Streams of one engine, which is started again when it ends. Lives on one event loop."""

    def __init__(
        self,
        open_engine: OpenEngine,
        clock: Clock,
        *,
        greeting: tuple[int, ...],
        patience: Patience = PATIENT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`greeting`: a prompt (token ids) to see the engine decode with."""
        self._greeting = greeting
        self._probes = count()
        self._mailboxes: dict[str, _Mailbox] = {}
        self._supervisor = Supervisor(open_engine, self, clock, patience=patience, sleep=sleep)

    @property
    def started(self) -> Started:
        """What the engine said when it had loaded; known once `start` has returned."""
        return self._supervisor.started

    @property
    def is_ready(self) -> bool:
        """Whether the engine serves, and has decoded a moment ago."""
        return self._supervisor.is_ready

    @property
    def stats(self) -> Stats:
        """The engine's counters, as it last told them."""
        return self._supervisor.stats

    @property
    def num_open(self) -> int:
        """Streams that have not ended."""
        return len(self._mailboxes)

    async def start(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Start the engine and see it decode, so that no caller pays for first times.

        `progress` hears of (bytes loaded, bytes in all). Raises what the engine refused with:
        ConfigError, CheckpointError, EngineError. A model that does not decode is not ready.
        """
        await self._supervisor.start(progress)

    async def stop(self) -> None:
        """End the engine; every stream that still waits ends with Draining."""
        self._fail_all("Draining", "the server is stopping")
        await self._supervisor.stop()

    async def run(self, asked: Submit) -> AsyncGenerator[FromSequence, None]:
        """What the engine says of `asked`, up to its end; leaving early cancels it.

        Raises what it failed with: QueueFull, InvalidRequest, EngineDied, …
        """
        mailbox = self._mailboxes[asked.id] = _Mailbox(asyncio.get_running_loop())
        is_open = False  # whether the engine works for us
        try:
            self._supervisor.send(asked)
            is_open = True
            while is_open:
                for message in await mailbox.take():
                    if isinstance(message, Failed):
                        is_open = False
                        raise error_of(message)
                    if isinstance(message, Tokens):
                        is_open = message.finish is None
                    yield message
        finally:
            del self._mailboxes[asked.id]
            if is_open:
                with suppress(EngineRestarting):  # then nobody works for us any more
                    self._supervisor.send(Cancel(id=asked.id))

    def deliver(self, messages: list[ToFront]) -> None:
        """The supervisor's: what the engine says of sequences."""
        for message in messages:
            mailbox = self._mailboxes.get(message.id)
            if mailbox is not None:  # None: the client left, the engine does not know yet
                mailbox.put(message)

    def lost(self) -> None:
        """The supervisor's: every sequence is gone."""
        self._fail_all("EngineDied", "the engine ended in the middle of this request")

    async def probe(self) -> None:
        """The supervisor's: have a sequence decoded."""
        probe = Submit(
            id=f"probe-{next(self._probes)}",
            prompt=self._greeting[: self.started.context_tokens - PROBE_TOKENS],
            max_tokens=PROBE_TOKENS,
            stop_ids=(),
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
        )
        async with aclosing(self.run(probe)) as messages:
            async for _ in messages:
                pass

    def _fail_all(self, error: str, message: str) -> None:
        for request_id, mailbox in self._mailboxes.items():
            mailbox.put(Failed(id=request_id, error=error, message=message))


class _Mailbox:
    """Messages for one stream. One reader; everything on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: list[ToFront] = []
        self._reader: asyncio.Future[None] | None = None

    def put(self, message: ToFront) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def take(self) -> list[ToFront]:
        """All that wait, at least one."""
        if not self._messages:
            self._reader = self._loop.create_future()
            await self._reader
            self._reader = None
        messages, self._messages = self._messages, []
        return messages
