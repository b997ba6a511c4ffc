"""Packed weights kept on disk, so that the next start reads them instead of packing them again.

One file for one checkpoint: the workers' memory, one after the other, then a JSON trailer with a
digest of every piece, then the trailer's length (8 bytes, little-endian). The file's name says what
it was made of; it is written beside its place, synced and renamed, so it is whole or not there, and
every piece is checked as it is read. Nothing that goes wrong here fails a load: what cannot be read
is packed again, what cannot be written is left. A file that memory holds twice stays in the
system's page cache, for the next start; a larger one leaves it, as huge pages would have to be
wrung from it.
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
from typing import BinaryIO, cast

from headrace.backends.cpu.library import require_native
from headrace.model.mapped_file import fits_twice
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)

PIECE_BYTES = 8 << 20  # read, checked and synced at a time
SPARE_BYTES = 10 << 30  # of the disk, left free whatever is kept
LENGTH_BYTES = 8
UNFINISHED = ".part"

Memory = memoryview  # one worker's packed weights, as bytes


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
    ) -> None:
        """`folder` is made when something is kept. `free_bytes(folder)`: of its disk."""
        self._folder = folder
        self._free_bytes = free_bytes

    def load(
        self, key: PackedKey, parts: Sequence[Memory], progress: Callable[[int, int], None]
    ) -> bool:
        """Fill `parts` with what is kept for `key`; False, and zeros, when there is nothing sound.

        `progress` hears of (bytes read, bytes in all).
        """
        path = self._folder / key.name
        try:
            with path.open("rb", buffering=0) as file:
                is_sound = _read_parts(file, parts, progress)
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
            for piece in (piece for part in parts for piece in _pieces(part)):
                piece[:] = bytes(piece.nbytes)
        return is_sound

    def save(self, key: PackedKey, parts: Sequence[Memory]) -> str:
        """Keep `parts` under `key`; what came of it, for people. Raises nothing."""
        size = sum(part.nbytes for part in parts)
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

    def _write(self, key: PackedKey, parts: Sequence[Memory]) -> str:
        unfinished = self._folder / f"{key.name}{UNFINISHED}"
        with unfinished.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "not kept: another process is writing it"
            file.truncate(0)
            keeps_cache = fits_twice(sum(part.nbytes for part in parts))
            digests = [
                [_written(file, piece, keeps_cache=keeps_cache) for piece in _pieces(part)]
                for part in parts
            ]
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


def _pieces(part: Memory) -> Iterator[Memory]:
    for start in range(0, part.nbytes, PIECE_BYTES):
        yield part[start : start + PIECE_BYTES]


def _digest(piece: Memory) -> str:
    require_native()
    from headrace.backends.cpu import _native

    return f"{_native.digest(piece):016x}"


def _written(file: BinaryIO, piece: Memory, *, keeps_cache: bool) -> str:
    """Write a piece through to the disk, so that it does not pile up in memory; its digest."""
    start = file.tell()
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


def _read_parts(
    file: BinaryIO, parts: Sequence[Memory], progress: Callable[[int, int], None]
) -> bool:
    digests = cast("list[list[str]]", _trailer(file)["digests"])
    sizes = [part.nbytes for part in parts]
    if [len(part) for part in digests] != [-(-size // PIECE_BYTES) for size in sizes]:
        return False
    done = 0
    turn = Lock()
    keeps_cache = fits_twice(sum(sizes))

    def heard(count: int) -> None:
        nonlocal done
        with turn:
            done += count
            progress(done, sum(sizes))

    def read(start: int, part: Memory, expected: Sequence[str]) -> bool:
        for piece, digest in zip(_pieces(part), expected, strict=True):
            if not _fill(file.fileno(), start, piece) or _digest(piece) != digest:
                return False
            if not keeps_cache:
                _forget(file.fileno(), start, piece.nbytes)
            start += piece.nbytes
            heard(piece.nbytes)
        return True

    starts = [0, *accumulate(sizes)][:-1]
    with ThreadPoolExecutor(len(parts)) as pool:  # a thread for each worker's memory
        return all(list(pool.map(read, starts, parts, digests)))


def _fill(descriptor: int, start: int, piece: Memory) -> bool:
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
