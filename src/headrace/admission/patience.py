"""A bounded wait in place of a refusal, for callers who name one: first come, first served."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.admission.limiter import Ask, Hold, Limiter
from headrace.clock import Clock
from headrace.errors import RateLimited

_TURN_S = 0.001  # until the next in line looks again
_MOST_WAITING = 64  # of one organisation and model; who comes then is refused at once


class Patience:
    """Waits for limits to let a request pass."""

    def __init__(
        self,
        limiter: Limiter,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._sleep = sleep
        self._lines: defaultdict[tuple[str, str], list[_Place]] = defaultdict(list)

    async def reserve(self, ask: Ask, patience_s: float = 0.0) -> Hold:
        """As `Limiter.reserve`, after waiting `patience_s` seconds at most.

        Whoever comes later waits behind, and is refused where the first in line could not pass
        either. Raises RateLimited at once where the wait would be too long.
        """
        name = ask.organisation_id, ask.model
        if name not in self._lines:
            try:
                return self._limiter.reserve(ask)
            except RateLimited as refusal:
                if patience_s < refusal.wait_s:
                    raise
        line, place = self._lines[name], _Place(ask)
        line.append(place)
        until_s = self._clock.now_s() + patience_s
        try:
            while True:
                refusal = self._limiter.obstacle(line[0].ask)
                if refusal is None and line[0] is place:
                    return self._limiter.reserve(ask)
                wait_s = _TURN_S if refusal is None else max(refusal.wait_s, _TURN_S)
                if self._clock.now_s() + wait_s > until_s or len(line) > _MOST_WAITING:
                    raise refusal or self._limiter.obstacle(ask) or _behind(len(line) - 1)
                await self._sleep(wait_s)
        finally:
            line.remove(place)
            if not line:
                self._lines.pop(name, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """One caller's place in a line."""

    ask: Ask


def _behind(waiting: int) -> RateLimited:
    return RateLimited(
        bucket="waiting requests",
        whose="organisation",
        limit=_MOST_WAITING,
        used=waiting,
        requested=1,
        wait_s=_TURN_S,
        unit="requests",
    )
