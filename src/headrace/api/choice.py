"""One choice of an answer, put together from its events; and log-probabilities on the wire."""

from collections.abc import Iterable
from typing import Any

from headrace.types import FinishReason, TokenEvent, TokenLogprob


class Choice:
    """A choice of a whole answer."""

    def __init__(self, index: int, *, has_logprobs: bool) -> None:
        self._index = index
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._logprobs: list[TokenLogprob] | None = [] if has_logprobs else None
        self._reasoning_logprobs: list[TokenLogprob] = []
        self._finish: FinishReason | None = None

    def add(self, event: TokenEvent) -> None:
        """Append one event of this choice."""
        self._texts.append(event.text)
        self._thoughts.append(event.reasoning)
        for piece in event.calls:
            if piece.id:
                self._calls.append({"id": piece.id, "name": piece.name, "arguments": []})
            self._calls[piece.index]["arguments"].append(piece.arguments)
        if self._logprobs is not None:
            self._logprobs += event.logprobs
        self._reasoning_logprobs += event.reasoning_logprobs
        self._finish = event.finish or self._finish

    def object(self) -> dict[str, Any]:
        """The member of `choices`."""
        thought = self._reasoning_logprobs
        return {
            "index": self._index,
            "message": self._message(),
            "finish_reason": self._finish,
            "logprobs": None if self._logprobs is None else logprobs_object(self._logprobs),
            **({"reasoning_logprobs": logprobs_object(thought)} if thought else {}),
        }

    def _message(self) -> dict[str, Any]:
        text, thought = "".join(self._texts), "".join(self._thoughts)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._calls and not text else text,
            "refusal": None,
        }
        if thought:
            message["reasoning"] = thought
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {
                        "name": call["name"],
                        "arguments": "".join(call["arguments"]) or "{}",
                    },
                }
                for call in self._calls
            ]
        return message


def call_deltas(event: TokenEvent) -> list[dict[str, Any]]:
    """The `tool_calls` of an event's chunk; a call's id and name come with its first piece."""
    deltas: list[dict[str, Any]] = []
    for piece in event.calls:
        function: dict[str, str] = {"arguments": piece.arguments}
        delta: dict[str, Any] = {"index": piece.index, "type": "function", "function": function}
        if piece.id:
            delta["id"] = piece.id
            function["name"] = piece.name
        deltas.append(delta)
    return deltas


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
