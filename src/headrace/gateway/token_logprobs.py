"""Log-probabilities of one choice, let go together with the text of their tokens. Pure."""

from collections import deque
from dataclasses import replace

from headrace.engine.messages import TokenLogprobs
from headrace.model import Tokenizer
from headrace.types import TokenLogprob


class HeldLogprobs:
    """Holds the entries of tokens whose text has not begun to be delivered.

    A token begins where its bytes do, in characters of the choice's text. It goes out as soon as
    text beyond that place does: with the rest of its character, or with what a stop string held
    back. When a stop string ends the choice, tokens that begin behind the cut are dropped, and one
    that begins before it is kept whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._held: deque[tuple[int, TokenLogprob]] = deque()

    def push(self, token_id: int, said: TokenLogprobs, start: int) -> None:
        """Take the next token, which begins at character `start` (never falling)."""
        top = tuple(self._entry(other, value) for other, value in said.top)
        entry = replace(self._entry(token_id, said.chosen, top), start=start)
        self._held.append((start, entry))

    def push_first(self, token_id: int) -> None:
        """Take a prompt's first token: nothing says how likely it was."""
        self._held.append((0, self._entry(token_id, None)))

    def release(self, delivered: int) -> tuple[TokenLogprob, ...]:
        """The entries that go out once `delivered` characters have."""
        out: list[TokenLogprob] = []
        while self._held and self._held[0][0] < delivered:
            out.append(self._held.popleft()[1])
        return tuple(out)

    def flush(self) -> tuple[TokenLogprob, ...]:
        """All that is left, when the choice ends without a stop string."""
        out = tuple(entry for _, entry in self._held)
        self._held.clear()
        return out

    def _entry(
        self, token_id: int, logprob: float | None, top: tuple[TokenLogprob, ...] = ()
    ) -> TokenLogprob:
        data = self._tokenizer.token_bytes(token_id)
        if not data:
            spelling = self._tokenizer.control.spelling(token_id)
            return TokenLogprob(token=spelling, data=None, logprob=logprob, top=top)
        text = data.decode("utf-8", "replace")
        return TokenLogprob(token=text, data=data, logprob=logprob, top=top)
