"""How long answers get: what a request is likely to write, from what its key has had before."""

from collections import OrderedDict, deque

LEAST = 256  # tokens: assumed of a key without history, and never less
_SAMPLES = 200  # answers of a key and model that are remembered
_KEPT = 10_000  # keys and models
_QUANTILE = 0.95


class Outputs:
    """The last answers' lengths, by whoever and whatever made them."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._estimates: dict[tuple[str, str], int] = {}

    def expected(self, key_id: str, model: str, most: int) -> int:
        """Tokens that nineteen of twenty answers stay within, `most` at most.

        A large `max_completion_tokens` alone reserves nothing: it bounds, and does not predict.
        """
        return min(most, self._estimates.get((key_id, model), LEAST))

    def add(self, key_id: str, model: str, tokens: int) -> None:
        """One more answer has ended."""
        name = key_id, model
        lengths = self._lengths.get(name)
        if lengths is None:
            lengths = self._lengths[name] = deque(maxlen=_SAMPLES)
            if len(self._lengths) > _KEPT:
                forgotten, _ = self._lengths.popitem(last=False)
                self._estimates.pop(forgotten, None)
        self._lengths.move_to_end(name)
        lengths.append(tokens)
        ranked = sorted(lengths)
        self._estimates[name] = max(LEAST, ranked[int(_QUANTILE * (len(ranked) - 1))])
