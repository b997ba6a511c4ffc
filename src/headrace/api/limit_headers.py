"""How a caller's limits stand, in the headers of every answer that completes something.

The names and meanings are Cerebras': `x-ratelimit-limit-`, `-remaining-` and `-reset-`, each of
`requests-day`, `tokens-minute` and so on; resets are seconds until nothing is used. Of ours is
`tokens-minute-uncached`.
"""

from collections.abc import Callable, Sequence
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.admission import Standing

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
_RAW_NAMES = {window: tuple(name.encode() for name in names) for window, names in _NAMES.items()}
_WITHOUT = {
    window: list(
        zip(_RAW_NAMES[window], (b"%d" % UNLIMITED, b"%d" % UNLIMITED, b"0.000"), strict=True)
    )
    for window in _ALWAYS
}

Standings = Callable[[], Sequence[Standing]]
RawHeaders = list[tuple[bytes, bytes]]


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
                    told = headers_of(standings())
                    message["headers"] = [*message.get("headers", ()), *told]
            await send(message)

        await self._app(scope, receive, send_told)


def headers_of(standings: Sequence[Standing]) -> RawHeaders:
    """The headers that say how limits stand; of those always told, also that there is none."""
    headers: RawHeaders = []
    told: set[str] = set()
    for each in standings:
        told.add(each.name)
        in_all, left, reset = _RAW_NAMES[each.name]
        limit, used = each.limit, each.used
        headers += (
            (in_all, b"%d" % limit),
            (left, b"%d" % (limit - used if used < limit else 0)),
            (reset, b"%.3f" % each.reset_s),
        )
    for window in _ALWAYS:
        if window not in told:
            headers += _WITHOUT[window]
    return headers
