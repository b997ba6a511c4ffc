"""The form one sequence's tokens are held to, and how far it has come.

What may come next is a set of tokens, a mask; often it is one text only, whose tokens need not be
drawn. The grammar, its states and masks are llguidance's (Earley parsing over lazily built lexers).
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.errors import EngineError

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_FORCED = 32  # chosen: forced tokens appended at once, so that no step's batch grows beyond use


class Grammar:
    """One sequence's place in its grammar."""

    def __init__(self, matcher: "LLMatcher", num_tokens: int) -> None:
        """`matcher`: at its beginning; `num_tokens`: of its vocabulary."""
        self._matcher = matcher
        self._bits = np.zeros(-(-num_tokens // 32), np.uint32)

    @property
    def is_complete(self) -> bool:
        """Whether the form is fulfilled and nothing can follow."""
        return self._matcher.is_accepting() and self._matcher.is_stopped()

    def fill(self, mask: NDArray[np.uint32]) -> None:
        """Set the bits of the tokens that may come next; `mask` [W] has a bit for each token id.

        Raises EngineError when the grammar has lost its place.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        mask[:] = self._bits[: len(mask)]

    def accept(self, token_id: int) -> None:
        """Go on by a token that was drawn. Raises EngineError when it may not stand here."""
        if not self._matcher.consume_token(token_id):
            self._check()
            raise EngineError("a token was drawn that its grammar does not allow")

    def force(self, most: int) -> list[int]:
        """The tokens that must come next, `most` of them at most; it has gone on by them."""
        forced: list[int] = self._matcher.compute_ff_tokens()[: min(most, MAX_FORCED)]
        if forced and not self._matcher.consume_tokens(forced):
            self._check()
            raise EngineError("a grammar does not allow what it forces")
        return forced

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(f"a grammar lost its place: {first_line(self._matcher.get_error())}")


def first_line(text: str) -> str:
    """What llguidance says first; the rest is a picture of its state."""
    return text.strip().partition("\n")[0][:300]
