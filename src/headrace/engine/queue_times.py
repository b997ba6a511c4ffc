"""How long those that started lately had waited."""

from collections import deque

WINDOW_S = 60.0


class QueueTimes:
    """A rolling mean over WINDOW_S seconds."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = (
            deque()
        )  # when one started, how long it had waited
        self._sum_s = 0.0

    def note(self, now_s: float, waited_s: float) -> None:
        """A sequence starts."""
        self._waits.append((now_s, waited_s))
        self._sum_s += waited_s

    def mean_s(self, now_s: float) -> float:
        """The mean of those that started in the window; 0 if none did."""
        while self._waits and self._waits[0][0] < now_s - WINDOW_S:
            self._sum_s -= self._waits.popleft()[1]
        return self._sum_s / len(self._waits) if self._waits else 0.0
