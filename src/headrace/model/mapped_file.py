"""A file mapped read-only, whose pages are asked for ahead and let go when they were read.

A checkpoint may be as large as the memory: what was read must not pile up beside what was made of
it. Where the system knows no such advice, it is left out: the bytes are the same.
"""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

AHEAD, DONE, IN_ORDER = (
    getattr(mmap, name, None) for name in ("MADV_WILLNEED", "MADV_DONTNEED", "MADV_SEQUENTIAL")
)
AT_ONCE = 512 << 10  # bytes; Linux fetches no more on one advice than a device takes in one request


def fits_twice(size: int) -> bool:
    """Whether memory holds so many bytes twice: as a backend has them, and in the page cache."""
    return 2 * size <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class MappedFile:
    """The bytes of one file; mapped on first use, and again when used after `close`."""

    def __init__(self, path: Path, *, keeps_cache: bool = True) -> None:
        """`keeps_cache`: what was read stays in the system's page cache, for the next start."""
        self._path = path
        self._keeps_cache = keeps_cache
        self._map: mmap.mmap | None = None

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """All of it, [size], read-only. Raises OSError or ValueError when it cannot be mapped."""
        return np.frombuffer(self._mapped(), np.uint8)

    def will_read(self, begin: int, end: int) -> None:
        """Let the system fetch bytes `begin`..`end` while other work goes on."""
        self._mapped()
        for start in range(begin, end, AT_ONCE):
            self._advise(AHEAD, start, min(start + AT_ONCE, end))

    def was_read(self, begin: int, end: int) -> None:
        """Let go of the pages of bytes `begin`..`end`; read again, they are fetched again."""
        self._advise(DONE, begin, end)
        if not self._keeps_cache and hasattr(os, "posix_fadvise"):
            with self._path.open("rb") as file:
                os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Unmap, as soon as no array of it is left."""
        self._map = None

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if IN_ORDER is not None:
                self._map.madvise(IN_ORDER)
        return self._map

    def _advise(self, advice: int | None, begin: int, end: int) -> None:
        if self._map is None or advice is None or begin >= end:
            return
        start = begin // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(advice, start, end - start)
