"""What an exchange meant: visible pieces with their times and tokens, tool calls, usage, faults.

Only visible text counts as output: a first event that carries nothing but the role, empty deltas
and the usage event are no tokens. All pieces of one read carry that read's time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from headrace.bench.client.exchange import Exchange

_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The visible content of one event."""

    at_s: float
    text: str
    tokens: float  # an estimate where neither usage per event nor a tokenizer says
    is_answer: bool  # False: reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model wrote. `arguments` is JSON text, if the model did well."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One exchange, read. Times are seconds of the clock of `Exchange`."""

    start_s: float  # intended (open loop) or just before the request was written
    sent_s: float
    ended_s: float
    connect_s: float | None = None
    status: int = 0
    fault: str = ""  # "": the stream came whole, with a reason to finish
    pieces: tuple[Piece, ...] = ()
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    prompt_tokens: int | None = None
    output_tokens: float = 0.0
    cached_tokens: int | None = None
    has_usage: bool = False
    # How the tokens of an event are known: usage, tokenizer (the model's own, as we were told),
    # counter (the one for all endpoints, where there is no usage), events, share, log.
    counts: str = "events"
    usage_differs: bool = False  # from the tokenizer's count, by more than 2 %
    # By the counter that is the same for all endpoints, None without one.
    common_tokens: int | None = None
    common_after_first: int | None = None  # of them, those after the first moment's


def read_answer(exchange: Exchange, *, intended_s: float | None = None) -> Answer:
    """Read an exchange whose request should have left at `intended_s` (None: when it did).

    Tokenizers count later (`counting`); until then events hold what usage says of them.
    """
    blank = Answer(
        start_s=exchange.sent_s if intended_s is None else intended_s,
        sent_s=exchange.sent_s,
        ended_s=exchange.ended_s,
        connect_s=exchange.connect_s,
        status=exchange.status,
        fault=exchange.fault,
    )
    if exchange.status != _OK:
        return replace(blank, fault=exchange.fault or f"status {exchange.status}")
    if not exchange.is_stream:
        return replace(blank, fault=exchange.fault or "the answer is no stream of events")
    seen = _Seen()
    for at_s, data in _events(exchange):
        seen.add(at_s, data)
    return seen.answer(blank)


def _events(exchange: Exchange) -> Iterator[tuple[float, bytes]]:
    """The data of each event, with the time of the read that completed it."""
    held = b""
    for at_s, piece in exchange.arrivals:
        lines = (held + piece).replace(b"\r\n", b"\n").split(b"\n")
        held = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                yield at_s, line[5:].strip()


@dataclass(slots=True)
class _Seen:
    """An answer while it is read."""

    pieces: list[Piece] = field(default_factory=list[Piece])
    content: list[str] = field(default_factory=list[str])
    calls: dict[int, ToolCall] = field(default_factory=dict[int, ToolCall])
    usage: dict[str, Any] | None = None
    finish: str | None = None
    fault: str = ""
    is_done: bool = False
    counted: list[float] = field(default_factory=list[float])  # usage so far, by piece

    def add(self, at_s: float, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_done = True
            return
        try:
            chunk: Any = msgspec.json.decode(data)
            if "error" in chunk:
                error: Any = chunk["error"]
                told = error if isinstance(error, str) else error.get("message")
                self.fault = f"error event: {told}"
                return
            self.usage = chunk.get("usage") or self.usage
            for choice in chunk.get("choices") or ():
                self._choice(at_s, choice)
        except (msgspec.DecodeError, AttributeError, TypeError, KeyError) as exc:
            self.fault = f"an event that cannot be read: {exc}"

    def _choice(self, at_s: float, choice: dict[str, Any]) -> None:
        delta: dict[str, Any] = choice.get("delta") or {}
        thought = delta.get("reasoning") or delta.get("reasoning_content") or ""
        written = delta.get("content") or ""
        self.content.append(written)
        for part in delta.get("tool_calls") or ():
            written += self._call(part)
        for text, is_answer in ((thought, False), (written, True)):
            if text:
                self.pieces.append(Piece(at_s=at_s, text=text, tokens=1.0, is_answer=is_answer))
                self.counted.append((self.usage or {}).get("completion_tokens") or 0)
        self.finish = choice.get("finish_reason") or self.finish

    def _call(self, part: dict[str, Any]) -> str:
        index = part.get("index") or 0
        known = self.calls.get(index) or ToolCall(id="", name="", arguments="")
        function: dict[str, Any] = part.get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments") or ""
        self.calls[index] = ToolCall(
            id=part.get("id") or known.id,
            name=known.name + name,
            arguments=known.arguments + arguments,
        )
        return name + arguments

    def answer(self, blank: Answer) -> Answer:
        usage = self.usage or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        total: float | None = usage.get("completion_tokens")
        counts, pieces = self._counted(total)
        fault = blank.fault or self.fault
        if not fault and self.finish is None:
            fault = "the stream ended without a reason to finish"
        return replace(
            blank,
            fault=fault,
            pieces=pieces,
            text="".join(self.content),
            reasoning="".join(p.text for p in pieces if not p.is_answer),
            calls=tuple(self.calls[index] for index in sorted(self.calls)),
            finish=self.finish,
            prompt_tokens=usage.get("prompt_tokens"),
            output_tokens=sum(p.tokens for p in pieces) if total is None else total,
            cached_tokens=details.get("cached_tokens"),
            has_usage=total is not None,
            counts=counts,
        )

    def _counted(self, total: float | None) -> tuple[str, tuple[Piece, ...]]:
        """How many tokens each piece holds, and who says so."""
        pieces = self.pieces
        steps = [b - a for a, b in zip([0, *self.counted], self.counted, strict=False)]
        if pieces and self.counted[0] > 0 and all(step >= 0 for step in steps):
            counts, tokens = "usage", [float(step) for step in steps]
        elif total is None or abs(total - len(pieces)) <= 1:  # the end token has no text
            return "events", tuple(pieces)
        else:
            size = sum(len(p.text) for p in pieces) or 1
            counts, tokens = "share", [total * len(p.text) / size for p in pieces]
        told = zip(pieces, tokens, strict=True)
        return counts, tuple(replace(piece, tokens=count) for piece, count in told)
