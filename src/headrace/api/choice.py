"""One choice of an answer, put together from its events; and log-probabilities on the wire."""

from collections.abc import Iterable
from typing import Any

from headrace.types import FinishReason, TokenEvent, TokenLogprob


class Choice:
    """A choice of a whole answer."""

    def __init__(self, index: int, *, has_logprobs: bool) -> None:
        self._index = index
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] | None = [] if has_logprobs else None
        self._finish: FinishReason | None = None

    def add(self, event: TokenEvent) -> None:
        """Append one event of this choice."""
        self._texts.append(event.text)
        if self._logprobs is not None:
            self._logprobs += event.logprobs
        self._finish = event.finish or self._finish

    def object(self) -> dict[str, Any]:
        """The member of `choices`."""
        return {
            "index": self._index,
            "message": {"role": "assistant", "content": "".join(self._texts), "refusal": None},
            "finish_reason": self._finish,
            "logprobs": None if self._logprobs is None else logprobs_object(self._logprobs),
        }


def logprobs_object(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a choice, or of one chunk of it."""
    content = [
        {**_entry(token), "top_logprobs": [_entry(other) for other in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _entry(token: TokenLogprob) -> dict[str, Any]:
    data = None if token.data is None else list(token.data)
    return {"token": token.token, "logprob": token.logprob, "bytes": data}
