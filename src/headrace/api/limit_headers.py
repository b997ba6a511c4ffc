"""How a caller's limits stand, in the headers of every answer that completes something.

The names and meanings are Cerebras': `x-ratelimit-limit-`, `-remaining-` and `-reset-`, each of
`requests-day`, `tokens-minute` and so on; resets are seconds until nothing is used. Of ours is
`tokens-minute-uncached`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.admission import Standing
from headrace.api.protocol import LINES

UNLIMITED = 1_000_000_000  # what a limit is called that there is not
_ALWAYS = ("requests-day", "tokens-minute")
_WINDOWS = (
    *(f"{unit}-{span}" for unit in ("requests", "tokens") for span in ("minute", "hour", "day")),
    "tokens-minute-uncached",
)
_NAMES = {
    window: tuple(f"x-ratelimit-{what}-{window}" for what in ("limit", "remaining", "reset"))
    for window in _WINDOWS
}
HEADER_NAMES = tuple(name for names in _NAMES.values() for name in names)
_LINES = {
    window: "{}: %d\r\n{}: %d\r\n{}: %.3f\r\n".format(*names).encode()
    for window, names in _NAMES.items()
}

Standings = Callable[[], Sequence[Standing]]
Numbers = tuple[float, ...]


class RateLimits:
    """Adds the headers where a route has left `scope["state"]["standings"]`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                standings = cast("Standings | None", scope["state"].get("standings"))
                if standings is not None and message["status"] != 402:
                    block = block_of(standings())
                    if LINES in scope.get("extensions", {}):
                        message[LINES] = block
                    else:
                        message["headers"] = [*message.get("headers", ()), *_apart(block)]
            await send(message)

        await self._app(scope, receive, send_told)


def block_of(standings: Sequence[Standing]) -> bytes:
    """The header lines that say how limits stand; of those always told, also that there is none.

    Formatted in one go, as they are many: by themselves they would cost an answer as much as all
    else that is done for its key.
    """
    numbers: list[float] = []
    for each in standings:
        limit, used = each.limit, each.used
        numbers += (limit, limit - used if used < limit else 0, each.reset_s)
    lines, absent = _form(tuple([each.name for each in standings]))
    return lines % (*numbers, *absent)


@lru_cache(maxsize=256)
def _form(windows: tuple[str, ...]) -> tuple[bytes, Numbers]:
    """The lines of some windows and of those always told, and the numbers of what there is not."""
    absent = [window for window in _ALWAYS if window not in windows]
    lines = b"".join(_LINES[window] for window in (*windows, *absent))
    return lines, (UNLIMITED, UNLIMITED, 0.0) * len(absent)


def _apart(block: bytes) -> list[tuple[bytes, bytes]]:
    """The headers in a block of lines."""
    pairs = (line.split(b": ") for line in block.splitlines())
    return [(name, value) for name, value in pairs]
