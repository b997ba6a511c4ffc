"""Passwords: argon2id on two threads of their own, with a bounded queue.

A hash takes 19 MiB and some tens of milliseconds, by intent: more than two at a time would be a
way to stop the server.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from headrace.errors import InvalidRequest, LoginsBusy

# OWASP's password storage cheat sheet, first choice for argon2id: 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
THREADS = 2
MAX_WAITING = 32  # chosen: the last one waits about a second
MIN_CHARS = 12
MAX_CHARS = 256

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Passwords:
    """Makes and checks hashes, off the event loop."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="passwords")
        self._max_waiting = max_waiting
        self._at_work = 0

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    async def hash(self, password: str) -> str:
        """The hash to keep. Raises InvalidRequest for one too short or long, LoginsBusy."""
        return await self._run(hash_password, check_password(password))

    async def verify(self, known: str | None, password: str) -> bool:
        """Whether a password is the one of a hash; for None no password is, and it takes as long.

        Raises LoginsBusy when as many wait as may.
        """
        if len(password) > MAX_CHARS:
            password, known = "", None  # nobody has it, and it need not be read
        return await self._run(_matches, known, password)

    async def _run(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        if self._at_work >= THREADS + self._max_waiting:
            raise LoginsBusy("Too many people log in at this moment. Try again shortly.")
        self._at_work += 1
        job = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        job.add_done_callback(self._count_down)
        return await asyncio.shield(job)  # one who hangs up frees no place before the work is done

    def _count_down(self, _: object) -> None:
        self._at_work -= 1


def check_password(password: str) -> str:
    """`password`, if it may be one. Raises InvalidRequest."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidRequest(
            f"a password has {MIN_CHARS} to {MAX_CHARS} characters", param="password"
        )
    return password


def hash_password(password: str) -> str:
    """The hash to keep, in argon2's own notation with parameters and salt."""
    return _hasher().hash(password)


def _matches(known: str | None, password: str) -> bool:
    try:
        return _hasher().verify(known or _nobodys(), password) and known is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)


@cache
def _nobodys() -> str:
    """A hash to take as long as with a real one, where there is none."""
    return hash_password("nobody has this password")
