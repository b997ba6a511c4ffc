"""Packed weights kept on disk, so that the next start reads them instead of packing them again.

One file for one checkpoint: the workers' memory, one after the other, then a JSON trailer with a
digest of every piece, then the trailer's length (8 bytes, little-endian). The file's name says what
it was made of; it is written beside its place, synced and renamed, so it is whole or not there, and
every piece is checked as it is read. Nothing that goes wrong here fails a load: what cannot be read
is packed again, what cannot be written is left.

Small weights are read into the workers' memory. Large ones are that file, mapped: they come from
main memory whatever holds them, and the next start then needs no memory that it has to wait for. A
file that memory holds twice stays in the system's page cache, for the next start; a larger one
leaves it while it is written.
"""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, cast

from headrace.backends.cpu.library import require_native
from headrace.model.mapped_file import fits_twice
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)

PIECE_BYTES = 8 << 20  # read, checked and synced at a time
SPARE_BYTES = 10 << 30  # of the disk, left free whatever is kept
MAPPED_BYTES = 512 << 20  # of all workers, from which on weights are mapped: no cache holds them
ALIGNMENT = 2 << 20  # where a worker's part begins in a file to be mapped: at a huge page
LENGTH_BYTES = 8
UNFINISHED = ".part"

if TYPE_CHECKING:
    from headrace.backends.cpu import _native


class WorkerMemory:
    """The packed weights of one worker of a machine."""

    def __init__(self, machine: "_native.Machine", worker: int) -> None:
        """`machine` has taken its memory."""
        self._machine = machine
        self._worker = worker
        self.data = memoryview(machine.packed(worker).data)  # as bytes

    def map(self, descriptor: int, offset: int) -> bool:
        """Be the file's bytes from `offset` on, which nobody may write; False: as before."""
        return self._machine.map_packed(self._worker, descriptor, offset)

    def pin(self) -> bool:
        """Ask that what is mapped stays in memory; False when this process may not."""
        return self._machine.pin_packed(self._worker)

    def clear(self) -> None:
        """Be zeros that may be written."""
        self._machine.clear_packed(self._worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedKey:
    """What packed weights were made of."""

    checkpoint: str  # its files, as they were
    folder: str  # where it lies; a newer entry of the same folder replaces an older one
    layout: str  # everything the order of the words depends on

    @property
    def name(self) -> str:
        """The name of the file that holds them."""
        return sha256(json.dumps([self.checkpoint, self.folder, self.layout]).encode()).hexdigest()


class PackedCache:
    """The packed weights of all checkpoints, a file each."""

    def __init__(
        self,
        folder: Path,
        *,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        mapped_bytes: int = MAPPED_BYTES,
    ) -> None:
        """`folder` is made when something is kept. `free_bytes(folder)`: of its disk.

        Weights of `mapped_bytes` and more are mapped.
        """
        self._folder = folder
        self._free_bytes = free_bytes
        self._mapped_bytes = mapped_bytes

    def load(
        self, key: PackedKey, parts: Sequence[WorkerMemory], progress: Callable[[int, int], None]
    ) -> bool:
        """Fill `parts` with what is kept for `key`; False, and zeros, when there is nothing sound.

        `progress` hears of (bytes read, bytes in all).
        """
        path = self._folder / key.name
        try:
            with path.open("rb", buffering=0) as file:
                is_sound = _Reading(file, parts, progress, self._starts(parts)).run()
        except FileNotFoundError:
            return False
        except ConnectionError:
            raise  # of `progress`: nobody waits for this load any more
        except (OSError, ValueError, TypeError, KeyError) as exc:
            log.warning(Event("packed_cache_unreadable", path=path, reason=exc))
            is_sound = False
        if not is_sound:
            log.warning(Event("packed_cache_dropped", path=path))
            _remove(path)
            for part in parts:
                part.clear()
        return is_sound

    def _starts(self, parts: Sequence[WorkerMemory]) -> "_Starts":
        """Where each part begins in the file."""
        sizes = [part.data.nbytes for part in parts]
        is_mapped = sum(sizes) >= self._mapped_bytes
        if is_mapped:
            sizes = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
        return _Starts((0, *accumulate(sizes))[:-1], is_mapped=is_mapped)

    def save(self, key: PackedKey, parts: Sequence[WorkerMemory]) -> str:
        """Keep `parts` under `key`; what came of it, for people. Raises nothing."""
        size = sum(part.data.nbytes for part in parts)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_others(key)
            if self._free_bytes(self._folder) < size + SPARE_BYTES:
                return f"not kept: {size / 1e9:.1f} GB would leave too little of the disk"
            return self._write(key, parts)
        except OSError as exc:
            _remove(self._folder / f"{key.name}{UNFINISHED}")
            log.warning(Event("packed_cache_not_written", folder=self._folder, reason=exc))
            return f"not kept: {exc}"

    def _write(self, key: PackedKey, parts: Sequence[WorkerMemory]) -> str:
        unfinished = self._folder / f"{key.name}{UNFINISHED}"
        with unfinished.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "not kept: another process is writing it"
            file.truncate(0)
            keeps_cache = fits_twice(sum(part.data.nbytes for part in parts))
            digests: list[list[str]] = []
            for start, part in zip(self._starts(parts).bytes, parts, strict=True):
                file.truncate(start)  # to its beginning, over nothing
                pieces = _pieces(part.data)
                digests.append([_written(file, p, keeps_cache=keeps_cache) for p in pieces])
            trailer = json.dumps({"folder": key.folder, "digests": digests}).encode()
            _write_all(file, trailer + len(trailer).to_bytes(LENGTH_BYTES, "little"))
            os.fsync(file.fileno())
            unfinished.rename(self._folder / key.name)
        _sync_folder(self._folder)
        return "kept"

    def _forget_others(self, key: PackedKey) -> None:
        """Remove what older versions of the checkpoint left, and what nobody finished."""
        for path in self._folder.iterdir():
            with path.open("rb", buffering=0) as file:
                if path.name.endswith(UNFINISHED):
                    is_old = _is_abandoned(file)
                else:
                    is_old = path.name != key.name and _folder_of(file) == key.folder
            if is_old:
                _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # what is not there, or not ours to remove
        path.unlink()


def _pieces(part: memoryview) -> Iterator[memoryview]:
    for start in range(0, part.nbytes, PIECE_BYTES):
        yield part[start : start + PIECE_BYTES]


def _digest(piece: memoryview) -> str:
    require_native()
    from headrace.backends.cpu import _native

    return f"{_native.digest(piece):016x}"


def _written(file: BinaryIO, piece: memoryview, *, keeps_cache: bool) -> str:
    """Write a piece through to the disk, so that it does not pile up in memory; its digest."""
    start = file.seek(0, os.SEEK_END)
    _write_all(file, piece)
    os.fdatasync(file.fileno())
    if not keeps_cache:
        _forget(file.fileno(), start, piece.nbytes)
    return _digest(piece)


def _forget(descriptor: int, start: int, size: int) -> None:
    """Let the page cache go of so many bytes, where the system takes that advice."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def _write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@dataclass(frozen=True, slots=True)
class _Starts:
    """Where the parts of a file begin, and whether they are to be mapped."""

    bytes: tuple[int, ...]
    is_mapped: bool


class _Reading:
    """One attempt to fill the workers' memory from an open file."""

    def __init__(
        self,
        file: BinaryIO,
        parts: Sequence[WorkerMemory],
        progress: Callable[[int, int], None],
        starts: _Starts,
    ) -> None:
        self._file = file
        self._parts = parts
        self._progress = progress
        self._starts = starts
        self._sizes = [part.data.nbytes for part in parts]
        self._keeps_cache = starts.is_mapped or fits_twice(sum(self._sizes))
        self._done = 0
        self._turn = Lock()

    def run(self) -> bool:
        """Whether all of it is there and sound; OSError and what `_trailer` raises otherwise."""
        digests = cast("list[list[str]]", _trailer(self._file)["digests"])
        counts = [-(-size // PIECE_BYTES) for size in self._sizes]
        if [len(part) for part in digests] != counts:
            return False
        starts = self._starts.bytes
        with ThreadPoolExecutor(len(self._parts)) as pool:  # a thread for each worker's memory
            return all(list(pool.map(self._part, starts, self._parts, digests)))

    def _part(self, start: int, part: WorkerMemory, expected: Sequence[str]) -> bool:
        descriptor = self._file.fileno()
        is_mapped = self._starts.is_mapped
        if is_mapped:  # a file that ends too soon must not be touched beyond its end
            if os.fstat(descriptor).st_size < start + part.data.nbytes:
                return False
            is_mapped = part.map(descriptor, start)
        for piece, digest in zip(_pieces(part.data), expected, strict=True):
            if not is_mapped and not _fill(descriptor, start, piece):
                return False
            if _digest(piece) != digest:
                return False
            if not self._keeps_cache:
                _forget(descriptor, start, piece.nbytes)
            start += piece.nbytes
            self._heard(piece.nbytes)
        if is_mapped and not part.pin():
            log.info(Event("packed_weights_not_pinned", bytes=part.data.nbytes))
        return True

    def _heard(self, count: int) -> None:
        with self._turn:
            self._done += count
            self._progress(self._done, sum(self._sizes))


def _fill(descriptor: int, start: int, piece: memoryview) -> bool:
    """Read a piece whole; False at the file's end."""
    left = piece
    while left:
        count = os.preadv(descriptor, [left], start + piece.nbytes - left.nbytes)
        if count == 0:
            return False
        left = left[count:]
    return True


def _trailer(file: BinaryIO) -> dict[str, object]:
    """The JSON at the end; ValueError or OSError when there is none."""
    end = file.seek(-LENGTH_BYTES, os.SEEK_END)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > end:
        raise ValueError("the trailer is longer than the file")
    file.seek(end - length)
    found = json.loads(file.read(length))
    if not isinstance(found, dict):
        raise ValueError("the trailer is no object")
    return cast("dict[str, object]", found)


def _folder_of(file: BinaryIO) -> object:
    try:
        return _trailer(file).get("folder")
    except (OSError, ValueError):
        return None


def _is_abandoned(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
