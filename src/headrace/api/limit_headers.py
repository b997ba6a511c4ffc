"""How a caller's limits stand, in the headers of every answer that completes something.

The names and meanings are Cerebras': `x-ratelimit-limit-`, `-remaining-` and `-reset-`, each of
`requests-day`, `tokens-minute` and so on; resets are seconds until nothing is used.
"""

from collections.abc import Callable, Sequence
from typing import cast

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.admission import Standing

UNLIMITED = 1_000_000_000  # what a limit is called that there is not
_ALWAYS = ("requests-day", "tokens-minute")
_WINDOWS = tuple(
    f"{unit}-{span}" for unit in ("requests", "tokens") for span in ("minute", "hour", "day")
)
HEADER_NAMES = tuple(
    f"x-ratelimit-{what}-{window}"
    for window in _WINDOWS
    for what in ("limit", "remaining", "reset")
)

Standings = Callable[[], Sequence[Standing]]


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
                    MutableHeaders(scope=message).update(headers_of(standings()))
            await send(message)

        await self._app(scope, receive, send_told)


def headers_of(standings: Sequence[Standing]) -> dict[str, str]:
    """The headers that say how limits stand; none where there are no limits at all."""
    if not standings:
        return {}
    headers: dict[str, str] = {}
    for window in _ALWAYS:
        headers |= _three(window, UNLIMITED, UNLIMITED, 0.0)
    for standing in standings:
        headers |= _three(standing.name, standing.limit, standing.remaining, standing.reset_s)
    return headers


def _three(window: str, limit: int, remaining: int, reset_s: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{window}": str(limit),
        f"x-ratelimit-remaining-{window}": str(remaining),
        f"x-ratelimit-reset-{window}": str(round(reset_s, 6)),
    }
