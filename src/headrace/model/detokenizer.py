"""Token ids to text, token by token, without ever splitting a character."""

import codecs
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headrace.model.tokenizer import Tokenizer

_NONE: Mapping[int, bytes] = MappingProxyType({})


class Detokenizer:
    """The text of one answer. All that `push` and `flush` gave, joined, is the whole text.

    Bytes of a character that is not complete are held back; at most three are. Bytes that can never
    become a character turn into U+FFFD, one per maximal broken part (Unicode 16, 3.9). Control
    tokens write nothing. The work per token does not grow with the text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        spelled: Mapping[int, bytes] = _NONE,
        goes_on: bool = False,
    ) -> None:
        """`spelled`: control tokens that are written all the same, and how.

        `goes_on`: there is text before this, so a space that it begins with is its own.
        """
        self._pieces = tokenizer.decoding.pieces
        self._spelled = spelled
        self._drop_space = tokenizer.decoding.drops_first_space and not goes_on
        self._held = b""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is complete now; empty while a character is not.

        Every id lies in 0..vocab_size - 1 of the model.
        """
        return "".join(self.push_each(token_ids))

    def push_each(self, token_ids: Sequence[int]) -> list[str]:
        """For each token, the text that is complete with it; see `push`."""
        out: list[str] = []
        for token_id in token_ids:
            piece = self._spelled.get(token_id) if self._spelled else None
            data = self._held + (self._pieces[token_id] if piece is None else piece)
            if self._drop_space and data:
                data = data[1:] if data[:1] == b" " else data
                self._drop_space = False
            text, consumed = codecs.utf_8_decode(data, "replace", False)
            self._held = data[consumed:]
            out.append(text)
        return out

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        text = self._held.decode("utf-8", "replace")
        self._held = b""
        return text
