"""What limits refused lately, for whoever wonders why."""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.errors import RateLimited

_LAST = 10  # of a key
_KEPT = 10_000  # keys; beyond, the one refused longest ago is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request that a limit stood in the way of."""

    at_unix: int
    model: str
    facts: Mapping[str, str | int | float]  # as RateLimited has them


class Refusals:
    """The last ones of each key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: OrderedDict[str, deque[Refusal]] = OrderedDict()

    def add(self, key_id: str, model: str, error: RateLimited) -> None:
        """One more."""
        last = self._by_key.setdefault(key_id, deque(maxlen=_LAST))
        last.append(Refusal(at_unix=int(self._clock.unix_s()), model=model, facts=error.facts))
        self._by_key.move_to_end(key_id)
        if len(self._by_key) > _KEPT:
            self._by_key.popitem(last=False)

    def of(self, key_id: str) -> Sequence[Refusal]:
        """Those of a key, the newest first."""
        return tuple(reversed(self._by_key.get(key_id, ())))
