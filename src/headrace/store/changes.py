"""Tells processes that what they remember of the database may be old, without a system call.

Beside the database lies a file of eight bytes. Whoever watches maps it; whoever has committed a
change writes eight random bytes into it. Nobody counts: two that write at once cannot write the
same, and a process that is killed leaves nothing half done.
"""

import contextlib
import mmap
import os
import secrets
from pathlib import Path

_BYTES = 8


def announce(database: Path) -> None:
    """A change is committed: to be called before whoever made it is told so.

    Without the file nobody watches: who makes it looks into the database afterwards. If it cannot
    be written, who watches notices as late as after the death of a process right here.
    """
    with contextlib.suppress(OSError):
        file = os.open(_path(database), os.O_WRONLY)
        try:
            os.pwrite(file, secrets.token_bytes(_BYTES), 0)
        finally:
            os.close(file)


class Changes:
    """What a process watches. Raises OSError where its file cannot be made."""

    def __init__(self, database: Path) -> None:
        file = os.open(_path(database), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size < _BYTES:
                os.pwrite(file, secrets.token_bytes(_BYTES), 0)
            self._map = mmap.mmap(file, _BYTES, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
        self._words = memoryview(self._map).cast("Q")

    def latest(self) -> int:
        """Another number after every change."""
        return self._words[0]

    def close(self) -> None:
        """Watch no more."""
        self._words.release()
        self._map.close()


def _path(database: Path) -> Path:
    return database.with_name(f"{database.name}-changes")
