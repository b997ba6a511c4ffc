"""A bounded wait in place of a refusal, for callers who name one: first come, first served."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.admission.limiter import Ask, Hold, Limiter
from headrace.clock import Clock
from headrace.errors import RateLimited

LONGEST_S = 60.0  # chosen: nobody holds a place for longer
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

        Whoever comes later waits behind, and is refused where those in front could not pass either.
        Who is held up by a limit of his own key is passed over. Raises RateLimited at once where
        the wait would be too long.
        """
        name = ask.organisation_id, ask.model
        patience_s = min(patience_s, LONGEST_S)
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
                refusal = self._in_the_way(line, place)
                if refusal is None:
                    return self._limiter.reserve(ask)
                wait_s = max(refusal.wait_s, _TURN_S)
                if self._clock.now_s() + wait_s > until_s or len(line) > _MOST_WAITING:
                    raise refusal
                await self._sleep(wait_s)
        finally:
            line.remove(place)
            if not line:
                self._lines.pop(name, None)

    def _in_the_way(self, line: "list[_Place]", place: "_Place") -> RateLimited | None:
        """What keeps `place` waiting: its own key, somebody in front, or the organisation."""
        own = self._limiter.obstacle(place.ask)
        if own is not None and own.whose == "key":
            return own
        for ahead in line[: line.index(place)]:
            theirs = self._limiter.obstacle(ahead.ask)
            if theirs is None:
                return _behind(line.index(place))
            if theirs.whose != "key":
                return theirs
        return own


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
