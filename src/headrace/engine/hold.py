"""When drawn tokens are sent: at once, or together with those of the next call. Pure.

A frame costs the front and the client a wake-up each, with caches that the model's weights have
swept: some 100 us of the cores that decode, however many tokens it holds. So the tokens of calls
that follow each other within a moment no reader notices share a frame. What somebody waits for goes
at once: the first token of a stream, its last, and whatever is no token.
"""

from collections.abc import Iterable

from headrace.engine.messages import FromEngine, Stats, Tokens

HOLD_S = 2e-3  # chosen: what a token may wait for others, once its call has ended


class Hold:
    """Decides after each call of the backend."""

    def __init__(self, longest_s: float = HOLD_S) -> None:
        """`longest_s`: from the end of the first call of a frame to its sending, at most."""
        self._longest_s = longest_s
        self._since_s: float | None = None  # when the first call of the next frame ended

    def may_wait(self, said: Iterable[FromEngine], began_s: float, now_s: float) -> bool:
        """Whether what is not sent yet may wait for the next call, taken to last as long.

        `said`: by the call that ran from `began_s` to `now_s`. False: it is being sent now.
        """
        if self._since_s is None:
            self._since_s = now_s
        next_s = now_s + (now_s - began_s)
        if next_s - self._since_s <= self._longest_s and not any(map(_is_urgent, said)):
            return True
        self._since_s = None
        return False

    def clear(self) -> None:
        """All was sent."""
        self._since_s = None


def _is_urgent(message: FromEngine) -> bool:
    if isinstance(message, Tokens):
        return message.finish is not None or message.completion_s <= 0.0  # the first
    return not isinstance(message, Stats)
