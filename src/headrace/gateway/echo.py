"""The prompt at the beginning of an answer, for who asked for it: text, maybe log-probabilities."""

from collections.abc import Sequence

from headrace.engine.messages import PromptLogprobs
from headrace.gateway.token_logprobs import HeldLogprobs
from headrace.model import Detokenizer, Tokenizer
from headrace.types import TokenEvent


class Echo:
    """Text alone is said at once; with log-probabilities it comes as its tokens are scored."""

    def __init__(
        self, tokenizer: Tokenizer, ids: Sequence[int], text: str, *, has_logprobs: bool
    ) -> None:
        """`ids`: the prompt, at least one token; `text`: what is echoed, "" if nothing is.

        With log-probabilities `text` is what `ids` write.
        """
        self.text = text
        self._ids = ids
        self._detokenizer = Detokenizer(tokenizer)
        self._held = HeldLogprobs(tokenizer) if has_logprobs else None
        self._scored = 0  # tokens taken so far
        self._written = 0  # characters they made

    def begin(self) -> tuple[TokenEvent, ...]:
        """What is known before anything is read."""
        if self._held is None:
            return (TokenEvent(text=self.text, is_prompt=True),) if self.text else ()
        self._held.push_first(self._ids[0])
        return self._events(self._read(1))

    def scored(self, message: PromptLogprobs) -> tuple[TokenEvent, ...]:
        """The next tokens of the prompt."""
        assert self._held is not None, "only who wants them is told"
        text = ""
        for said in message.logprobs:
            self._held.push(self._ids[self._scored], said, self._written)
            text += self._read(1)
        return self._events(text)

    def _read(self, count: int) -> str:
        """The text of the next `count` tokens."""
        text = self._detokenizer.push(self._ids[self._scored : self._scored + count])
        self._scored += count
        if self._scored == len(self._ids):
            text += self._detokenizer.flush()
        self._written += len(text)
        return text

    def _events(self, text: str) -> tuple[TokenEvent, ...]:
        held = self._held
        assert held is not None, "who calls has them"
        is_last = self._scored == len(self._ids)
        logprobs = held.release(self._written) + (held.flush() if is_last else ())
        if not text and not logprobs:
            return ()
        return (TokenEvent(text=text, logprobs=logprobs, is_prompt=True),)
