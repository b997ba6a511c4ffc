"""The server's pepper: a secret beside the database, so that the database alone tests no key."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from headrace.errors import ConfigError

PEPPER_BYTES = 32


def load_pepper(path: Path, token_bytes: Callable[[int], bytes]) -> bytes:
    """Read the pepper, or create it (mode 0600) if there is none; safe for several processes.

    The file appears whole or not at all: it is written under another name and linked into place.
    Raises ConfigError when it cannot be read or written, or has the wrong size.
    """
    try:
        if not path.exists():
            _create(path, token_bytes(PEPPER_BYTES), token_bytes(8).hex())
        pepper = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"key pepper {path} cannot be read or created: {exc}") from exc
    if len(pepper) != PEPPER_BYTES:
        raise ConfigError(
            f"key pepper {path} has {len(pepper)} bytes instead of {PEPPER_BYTES}: "
            "restore it from a backup, or delete it and create new keys"
        )
    return pepper


def _create(path: Path, pepper: bytes, suffix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{suffix}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pepper)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its pepper holds
            os.link(draft, path)
    finally:
        draft.unlink()
