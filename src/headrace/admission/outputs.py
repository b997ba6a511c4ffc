"""How long answers get: what a request is likely to write, from what its key has had before."""

from bisect import bisect_left, insort
from collections import OrderedDict, deque

LEAST = 256  # tokens: assumed of a key without history, and never less
_SAMPLES = 200  # answers of a key and model that are remembered
_KEPT = 10_000  # keys and models
_QUANTILE = 0.95


class Outputs:
    """The last answers' lengths, by whoever and whatever made them."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[tuple[str, str], _Lengths] = OrderedDict()

    def expected(self, key_id: str, model: str, most: int) -> int:
        """Tokens that nineteen of twenty answers stay within, `most` at most.

        A large `max_completion_tokens` alone reserves nothing: it bounds, and does not predict.
        """
        known = self._lengths.get((key_id, model))
        likely = LEAST if known is None else known.likely
        return most if most < likely else likely

    def add(self, key_id: str, model: str, tokens: int) -> None:
        """One more answer has ended."""
        name = key_id, model
        lengths = self._lengths.get(name)
        if lengths is None:
            lengths = self._lengths[name] = _Lengths()
            if len(self._lengths) > _KEPT:
                self._lengths.popitem(last=False)
        self._lengths.move_to_end(name)
        lengths.add(tokens)


class _Lengths:
    """Of one key and model: as they came, and in order."""

    __slots__ = ("_came", "_ranked", "likely")

    def __init__(self) -> None:
        self._came: deque[int] = deque()
        self._ranked: list[int] = []
        self.likely = LEAST

    def add(self, tokens: int) -> None:
        """One more; the oldest of many is forgotten."""
        ranked = self._ranked
        if len(ranked) == _SAMPLES:
            del ranked[bisect_left(ranked, self._came.popleft())]
        self._came.append(tokens)
        insort(ranked, tokens)
        self.likely = max(LEAST, ranked[int(_QUANTILE * (len(ranked) - 1))])
