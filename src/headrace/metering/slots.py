"""What runs, in a file mapped into memory: it outlives the process, and costs no system call.

One slot a request: who pays, how much is reserved, and tokens delivered so far. A slot is written
whole before its state says so, so whoever reads it after a crash reads all of it. Each number is
one store of eight bytes: the process may end between any two, and within none (`struct.pack_into`
clears what it writes first). What a power cut loses is bounded by leases, which are on the disk.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from headrace.errors import ConfigError, QueueFull
from headrace.types import Usage

_MAGIC = b"headrace-slots-1"
_SLOT_BYTES = 1_024
_HEADER_BYTES = _SLOT_BYTES  # a slot's worth, so that slots do not cross pages
_SLOT_WORDS, _HEADER_WORDS = _SLOT_BYTES // 8, _HEADER_BYTES // 8
_PROMPT, _COMPLETION, _CACHED, _REASONING, _STATE = range(5)  # the first words of a slot
_LENGTH = struct.Struct("<I")
_LENGTH_AT = 40
_BLOB_AT = _LENGTH_AT + _LENGTH.size
_NOTHING_COUNTED = bytes(8 * _STATE)
_encode = msgspec.msgpack.Encoder().encode

FREE, RUNNING, ENDED = 0, 1, 2


class Reservation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything a usage record needs besides tokens, known before the first of them."""

    request_id: str
    organisation_id: str
    project_id: str
    key_id: str
    tier: str
    model: str
    price_version: str
    input_micros: int
    cached_micros: int
    output_micros: int
    lease_id: int  # 0: nothing was drawn from one
    reserved_micros: int
    received_unix: float


class Slots:
    """The slots of one server process. Raises ConfigError when the file cannot be used."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(self._file).st_size
            wanted = max(size, _HEADER_BYTES + count * _SLOT_BYTES)
            os.posix_fallocate(self._file, 0, wanted)  # a full disk shows now, not in a store
            self._map = mmap.mmap(self._file, wanted)
        except BlockingIOError as exc:
            raise ConfigError(f"{path} is in use by another server") from exc
        except OSError as exc:
            raise ConfigError(f"{path} cannot be used: {exc}") from exc
        if self._map[: len(_MAGIC)] not in (_MAGIC, bytes(len(_MAGIC))):
            raise ConfigError(f"{path} is no file of ours: move it away")
        self._map[: len(_MAGIC)] = _MAGIC
        self.number = (wanted - _HEADER_BYTES) // _SLOT_BYTES
        self._bytes = memoryview(self._map)[: _HEADER_BYTES + self.number * _SLOT_BYTES]
        self._words = self._bytes.cast("Q")
        self._free = [i for i in range(self.number) if self._state(i) == FREE]

    def close(self) -> None:
        """Let the file go."""
        self._words.release()
        self._bytes.release()
        self._map.close()
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, reservation: Reservation) -> int:
        """A slot for a request. Raises QueueFull when as many run as there are slots."""
        if not self._free:
            raise QueueFull("Too many requests run at once. Try again shortly.")
        blob = _encode(reservation)
        if len(blob) > _SLOT_BYTES - _BLOB_AT:
            raise ConfigError("a reservation is larger than its slot")
        slot = self._free.pop()
        at, word = self._at(slot), self._word(slot)
        self._map[at : at + _STATE * 8] = _NOTHING_COUNTED
        self._map[at + _LENGTH_AT : at + _BLOB_AT + len(blob)] = _LENGTH.pack(len(blob)) + blob
        self._words[word + _STATE] = RUNNING  # last: what is written before counts from here on
        return slot

    def start(self, slot: int, prompt_tokens: int) -> None:
        """The request runs: its prompt counts."""
        self._words[self._word(slot) + _PROMPT] = prompt_tokens

    def counter(self, slot: int) -> "tuple[memoryview[int], int]":
        """Where to store how many tokens of a slot were delivered by now: one store, no call."""
        return self._words, self._word(slot) + _COMPLETION

    def end(self, slot: int, used: Usage, *, is_whole: bool = True) -> None:
        """The request ended with this usage: written before the client sees its end.

        `is_whole`: not cut off.
        """
        word = self._word(slot)
        self._words[word + _PROMPT] = used.prompt_tokens
        self._words[word + _COMPLETION] = used.completion_tokens
        self._words[word + _CACHED] = used.cached_tokens
        self._words[word + _REASONING] = used.reasoning_tokens
        if is_whole:
            self._words[word + _STATE] = ENDED

    def free(self, slot: int) -> None:
        """Its record is on the disk."""
        self._words[self._word(slot) + _STATE] = FREE
        self._free.append(slot)

    def left_behind(self) -> Iterator[tuple[int, Reservation, Usage, bool]]:
        """Slots in use: reservation, tokens, and whether the request had ended as a whole."""
        for slot in range(self.number):
            if self._state(slot) == FREE:
                continue
            at, word = self._at(slot), self._word(slot)
            prompt, completion, cached, reasoning, state = self._words[word : word + 5]
            (length,) = _LENGTH.unpack_from(self._map, at + _LENGTH_AT)
            blob = self._map[at + _BLOB_AT : at + _BLOB_AT + length]
            used = Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                cached_tokens=cached,
                reasoning_tokens=reasoning,
            )
            yield slot, msgspec.msgpack.decode(blob, type=Reservation), used, state == ENDED

    def _at(self, slot: int) -> int:
        return _HEADER_BYTES + slot * _SLOT_BYTES

    def _word(self, slot: int) -> int:
        return _HEADER_WORDS + slot * _SLOT_WORDS

    def _state(self, slot: int) -> int:
        return self._words[self._word(slot) + _STATE]


def is_in_use(path: Path) -> bool:
    """Whether a server has the file now."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def copy_of(path: Path) -> bytes:
    """The file while its server writes to it: each slot as it stood at one moment."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return b""
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as pages:
            return b"".join(
                at_rest(lambda at=at: pages[at : at + _SLOT_BYTES])
                for at in range(0, size, _SLOT_BYTES)
            )


def at_rest(read: Callable[[], bytes]) -> bytes:
    """What `read` gives twice in a row.

    A slot that is freed and taken again while it is read comes as half of each, once: what stands
    in it is written before its state is, and no two requests have the same id.
    """
    before = read()
    while True:
        after = read()
        if after == before:
            return after
        before = after
