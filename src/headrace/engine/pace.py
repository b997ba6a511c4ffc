"""How fast prompts are read while some have to wait."""

import math

WINDOW_S = 30.0  # how far back it looks: an age at which a measurement counts for 1/e
SHORTEST_S = 1.0  # measured for less than this, it says nothing


class Pace:
    """Tokens per second, over the time in which not everything known could be read at once."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._step: tuple[float, int] | None = None  # when the last step began, tokens it read

    @property
    def tokens_per_s(self) -> float | None:
        """The speed; None before it is known."""
        return self._tokens / self._seconds if self._seconds >= SHORTEST_S else None

    def note(self, now_s: float, num_read: int, *, is_short: bool) -> None:
        """A step begins and reads `num_read` tokens; `is_short`: it leaves some unread."""
        if self._step is not None:
            began_s, tokens = self._step
            fade = math.exp((began_s - now_s) / WINDOW_S)
            self._tokens = self._tokens * fade + tokens
            self._seconds = self._seconds * fade + now_s - began_s
        self._step = (now_s, num_read) if is_short else None
