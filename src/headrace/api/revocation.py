"""Streams that do not outlive their key."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from headrace.errors import Unauthenticated
from headrace.types import TokenEvent

RECHECK_S = 2.0  # of the 5 s after which a revoked key's streams have ended


async def while_active(
    is_active: Callable[[], bool],
    events: AsyncGenerator[TokenEvent, None],
    *,
    recheck_s: float,
) -> AsyncGenerator[TokenEvent, None]:
    """`events`, until they end or a key is revoked or expires, whether any come or not.

    Raises Unauthenticated then. The caller closes `events`.
    """
    loop = asyncio.get_running_loop()
    check_at = loop.time() + recheck_s
    coming = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({coming}, timeout=max(0.0, check_at - loop.time()))
            if loop.time() >= check_at:
                if not is_active():
                    raise Unauthenticated("The API key was revoked, or has expired.")
                check_at = loop.time() + recheck_s
            if coming.done():
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                coming = asyncio.ensure_future(anext(events))
                yield event
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        if not coming.cancelled():
            coming.exception()  # seen: nobody is left to tell
