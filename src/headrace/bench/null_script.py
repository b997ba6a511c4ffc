"""What the null server says: events with their times, written down before anybody asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

_KIND: dict[str, Any] = {"id": "null", "object": "chat.completion.chunk", "model": "null"}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WORDS = ("and", "then", "the", "ship", "came", "home", "with", "oil")


@dataclass(frozen=True, slots=True, kw_only=True)
class NullScript:
    """What each answer is. Times in seconds after the request arrived."""

    first_s: float = 0.05
    gap_s: float = 0.01  # between events
    tokens: int = 64  # at most as many as the request asks for
    tokens_an_event: int = 1
    role_first: bool = True  # a first event without content, at once
    reasoning_tokens: int = 0  # of `tokens`, the first ones
    status: int = 200
    cut_after: int | None = None  # events, then the connection is closed
    has_usage: bool = True
    held: int = 1  # events of content that a proxy lets go together, when the last of them is due

    def answer(self, asked: int) -> "list[tuple[float, dict[str, Any]]]":
        """Events and when they are due; usage is not among them."""
        events: list[tuple[float, dict[str, Any]]] = []
        if self.role_first:
            events.append((0.0, _chunk({"role": "assistant", "content": ""})))
        total, written, due_s = min(self.tokens, asked), 0, self.first_s
        while written < total:
            is_thought = written < self.reasoning_tokens
            end = self.reasoning_tokens if is_thought else total
            count = min(self.tokens_an_event, end - written, total - written)
            text = "".join(f"{_WORDS[i % len(_WORDS)]} " for i in range(written, written + count))
            events.append((due_s, _chunk({"reasoning" if is_thought else "content": text})))
            written += count
            due_s += self.gap_s
        events = self._held_back(events)
        events.append((events[-1][0], _chunk({}, finish="length")))
        return events

    def _held_back(
        self, events: list[tuple[float, dict[str, Any]]]
    ) -> list[tuple[float, dict[str, Any]]]:
        first = int(self.role_first)
        found = events[:first]
        for begin in range(first, len(events), self.held):
            group = events[begin : begin + self.held]
            found += [(group[-1][0], event) for _, event in group]
        return found


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as bytes, with their times after the request."""

    parts: tuple[tuple[float, bytes], ...]
    words: int
    is_cut: bool

    def end(self, prompt_tokens: int | None) -> bytes:
        """What comes with the last part: usage, unless it is None, and the end of the stream."""
        told = b""
        if prompt_tokens is not None:
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": self.words}
            told = _framed(_event(_KIND | {"choices": [], "usage": usage}))
        return told + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@lru_cache(maxsize=64)
def write_down(script: NullScript, asked: int, *, is_counted: bool = False) -> Written:
    """What the script sends for a request of `asked` tokens, its head first, its end left out.

    With `is_counted`, usage so far is in every event.
    """
    events = script.answer(asked)
    words = 0
    kept = len(events) if script.cut_after is None else script.cut_after
    parts: list[tuple[float, bytes]] = [(0.0, _HEAD)]
    for index, (due_s, event) in enumerate(events):
        words += _words(event)
        if index >= kept:
            continue
        so_far = {"usage": {"completion_tokens": words}} if is_counted else {}
        data = _framed(_event(event | so_far))
        if parts[-1][0] == due_s:
            parts[-1] = (due_s, parts[-1][1] + data)
        else:
            parts.append((due_s, data))
    return Written(parts=tuple(parts), words=words, is_cut=kept < len(events))


def _words(event: Mapping[str, Any]) -> int:
    delta: dict[str, Any] = event["choices"][0]["delta"]
    return sum(len(str(text).split()) for name, text in delta.items() if name != "role")


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return _KIND | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
