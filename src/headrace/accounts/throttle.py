"""Slows down whoever guesses: so many failures a minute for a name, in bounded memory."""

import math
from collections import OrderedDict
from hashlib import blake2s

from headrace.clock import Clock
from headrace.errors import TooManyAttempts

ATTEMPTS = 10
PER_S = 60.0
MAX_NAMES = 10_000  # chosen: about 2 MB; the one longest unseen is forgotten first


class Throttle:
    """A bucket of attempts for each name (an address, an account), refilled steadily.

    An attempt is taken before it is known to fail, so that parallel ones cannot slip through, and
    given back when it succeeds.
    """

    def __init__(self, clock: Clock, *, max_names: int = MAX_NAMES) -> None:
        self._clock = clock
        self._max_names = max_names
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # left, at_s

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, *names: str) -> None:
        """Take one attempt of each name, or of none. Raises TooManyAttempts when one has none."""
        now_s = self._clock.now_s()
        left = {name: self._left(name, now_s) for name in names}
        least = min(left.values())
        if least < 1:
            raise TooManyAttempts(
                "Too many failed attempts. Wait a little, then try again.",
                retry_after_s=math.ceil((1 - least) * PER_S / ATTEMPTS),
            )
        for name, count in left.items():
            self._put(name, count - 1, now_s)

    def give_back(self, *names: str) -> None:
        """The attempt just taken was none to slow down."""
        now_s = self._clock.now_s()
        for name in names:
            self._put(name, min(ATTEMPTS, self._left(name, now_s) + 1), now_s)

    def _left(self, name: str, now_s: float) -> float:
        count, at_s = self._buckets.get(_key(name), (float(ATTEMPTS), now_s))
        return min(ATTEMPTS, count + (now_s - at_s) * ATTEMPTS / PER_S)

    def _put(self, name: str, count: float, now_s: float) -> None:
        key = _key(name)
        if count >= ATTEMPTS:
            self._buckets.pop(key, None)
            return
        self._buckets[key] = (count, now_s)
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._max_names:
            self._buckets.popitem(last=False)


def _key(name: str) -> bytes:
    """As long for a long name as for a short one."""
    return blake2s(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
