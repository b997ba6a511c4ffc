"""A request that is sent twice is answered once: what an `Idempotency-Key` asks for.

The first request with a key runs to its end, whether its client stays or not, and its answer is
kept for a day. A repeat gets that answer; while the first runs it is told to come back. The id of
the answer follows from the key, and a request's record is written once, so a repeat is never
billed, even where the answer was forgotten (a restart, a bound): then it is refused.
"""

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from typing import Self

from starlette.types import Message, Send

from headrace.clock import Clock
from headrace.errors import Conflict, InvalidRequest

KEPT_S = 24 * 3_600.0
MOST_BYTES = 64 << 20  # of all answers that are kept
MOST_ANSWER_BYTES = 4 << 20
MOST_ANSWERS = 10_000
REPLAYED = (b"idempotent-replayed", b"true")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

# How the answer of an id ended, if it was written down: "completed", "interrupted".
StatusOf = Callable[[str], Awaitable[str | None]]


class _State(Enum):
    RUNNING = auto()
    WHOLE = auto()  # answered, and kept as far as it goes
    BROKEN = auto()  # something of it may be written down: the next attempt has another id


@dataclass(slots=True, kw_only=True, eq=False)
class _Entry:
    """What is known of one key."""

    body: bytes  # a digest: the key is bound to it
    until_s: float
    base_id: str
    attempt: int = 0
    state: _State = _State.RUNNING
    messages: list[Message] | None = field(default_factory=list[Message])  # None: not kept
    size: int = 0

    @property
    def answer_id(self) -> str:
        """Of the attempt that runs, or ran last."""
        return f"{self.base_id}-{self.attempt}" if self.attempt else self.base_id


class First:
    """The first request with a key; whoever has it leaves the block when it is over."""

    def __init__(self, repeats: "Repeats", name: bytes, entry: _Entry) -> None:
        self._repeats = repeats
        self._name = name
        self._entry = entry
        self.has_begun = False  # set once something may be written down

    @property
    def answer_id(self) -> str:
        """It follows from the key."""
        return self._entry.answer_id

    def kept(self, send: Send, is_whole: Callable[[], bool]) -> Send:
        """`send`, with all that passes kept; `is_whole`: whether the answer came to its end.

        Its last message is kept as the end of all: who has read it may repeat the request.
        """

        async def send_kept(message: Message) -> None:
            self._repeats.keep(self._entry, message)
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and is_whole():
                self._repeats.end(self._name, self._entry, _State.WHOLE)
            await send(message)

        return send_kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._entry.state is _State.RUNNING:
            state = _State.BROKEN if self.has_begun else None
            self._repeats.end(self._name, self._entry, state)


class Repeats:
    """The answers that are kept."""

    def __init__(self, clock: Clock, status_of: StatusOf) -> None:
        self._clock = clock
        self._status_of = status_of
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._bytes = 0

    async def begin(
        self, key_id: str, idempotency_key: str, prefix: str, body: bytes
    ) -> "First | list[Message]":
        """The right to answer first, or the answer that was given.

        `prefix`: of the answer's id, which is the route's own. Raises InvalidRequest for a
        malformed key or one that came with another body, Conflict while the first request runs, or
        when its answer is not kept any more.
        """
        if not _KEY.fullmatch(idempotency_key):
            raise InvalidRequest(
                "Idempotency-Key: 1 to 255 printable characters without spaces",
                param="idempotency-key",
            )
        name = sha256(f"{key_id}\0{prefix}\0{idempotency_key}".encode()).digest()
        digest = sha256(body).digest()
        self._forget_old()
        entry = self._entries.get(name)
        if entry is None:
            return await self._begin_anew(name, digest, prefix)
        if entry.body != digest:
            raise InvalidRequest(
                "Idempotency-Key: it came with another body before; use a new one",
                param="idempotency-key",
            )
        if entry.state is _State.RUNNING:
            raise Conflict(
                "The first request with this Idempotency-Key still runs. Try again shortly.",
                retry_after_s=1,
            )
        if entry.state is _State.BROKEN:
            entry.attempt += 1
            entry.state, entry.messages = _State.RUNNING, []
            return First(self, name, entry)
        if entry.messages is None:
            raise _not_kept()
        return entry.messages

    def keep(self, entry: _Entry, message: Message) -> None:
        """One more message of an answer."""
        if entry.messages is None:
            return
        if message["type"] == "http.response.start":  # others add headers of their own to theirs
            message = {**message, "headers": list(message["headers"])}
        size = len(message.get("body", b""))
        if entry.size + size > MOST_ANSWER_BYTES:
            self._drop_messages(entry)
            return
        entry.messages.append(message)
        entry.size += size
        self._bytes += size

    def end(self, name: bytes, entry: _Entry, state: _State | None) -> None:
        """A first request is over; None: nothing of it was done."""
        if state is not _State.WHOLE:
            self._drop_messages(entry)
        if state is None and not entry.attempt:
            del self._entries[name]
            return
        entry.state = state or _State.BROKEN
        self._entries.move_to_end(name)
        while self._bytes > MOST_BYTES or len(self._entries) > MOST_ANSWERS:
            if not self._forget_oldest():
                return

    async def _begin_anew(self, name: bytes, digest: bytes, prefix: str) -> First:
        entry = _Entry(
            body=digest, until_s=self._clock.now_s() + KEPT_S, base_id=prefix + name[:16].hex()
        )
        self._entries[name] = entry
        try:
            await self._skip_attempts(entry)
        except BaseException:
            del self._entries[name]
            raise
        return First(self, name, entry)

    async def _skip_attempts(self, entry: _Entry) -> None:
        """Go on to one of which nothing is written down. Raises Conflict after a whole one."""
        while (status := await self._status_of(entry.answer_id)) is not None:
            if status == "completed":
                raise _not_kept()
            entry.attempt += 1

    def _forget_old(self) -> None:
        now_s = self._clock.now_s()
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.state is _State.RUNNING or oldest.until_s > now_s:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> bool:
        for name, entry in self._entries.items():
            if entry.state is not _State.RUNNING:
                self._drop_messages(entry)
                del self._entries[name]
                return True
        return False

    def _drop_messages(self, entry: _Entry) -> None:
        self._bytes -= entry.size
        entry.size = 0
        entry.messages = None


async def send_again(messages: list[Message], send: Send) -> None:
    """Send an answer that was kept."""
    for message in messages:
        if message["type"] == "http.response.start":
            await send({**message, "headers": [*message["headers"], REPLAYED]})
        else:
            await send(dict(message))


def _not_kept() -> Conflict:
    return Conflict(
        "The request with this Idempotency-Key was answered and billed, and its answer is not "
        "kept any more. Use a new key to ask again."
    )
