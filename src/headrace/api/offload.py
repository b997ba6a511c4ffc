"""Work on large bodies, away from the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

LARGE_BYTES = 256 * 1024  # some 2 ms of work

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def off_loop(work: Callable[[*Ts], T], *arguments: *Ts, size: int) -> T:
    """`work(*arguments)`, on a thread when it works on a large body: others' tokens go on."""
    if size > LARGE_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)
