"""An event loop whose time jumps, and endpoints that answer by a script on it."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from headrace.bench.client import Answer, Exchange, Piece, ToolCall
from headrace.bench.load import Endpoint

T = TypeVar("T")
LETTERS = 4  # of a call, that are a token of the script


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: the time that would be waited has passed."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout:
            self.now_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class LoopClock:
    """The running loop's time as a clock."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def unix_s(self) -> float:
        return 1_700_000_000.0 + self.now_s()


def play(main: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def sse(chunk: Any) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An event with visible content: when it left, and how many of the script's tokens it has."""

    at_s: float
    text: str
    words: int
    is_answer: bool


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer as the script gave it: the truth about what a client should have measured."""

    sent_s: float
    ended_s: float
    shown: tuple[Shown, ...]
    prompt_words: int
    connect_s: float | None
    is_cut: bool


@dataclass(kw_only=True)
class Scripted:
    """Answers `reply(body)` word by word: the first after `first_s`, then one each `gap_s`.

    With `lanes`, only so many requests are worked on at once; the others wait their turn. Events
    hold `words_an_event`; usage in each of them is given, or refused, when asked for. Before them
    are `empty` ones without content, then `thoughts` words of reasoning. A proxy lets `held` go
    together. A tool call is one event, unless `calls_in_parts` of a token each. Request n has
    `first_s` and `gap_s` times 1 + `uneven` (n modulo 5), and each `connect_every`-th is on a new
    connection.
    """

    reply: Callable[[dict[str, Any]], str | ToolCall]
    first_s: float = 0.1
    gap_s: float = 0.01
    lanes: int = 1_000
    fault_every: int = 0  # each n-th answer is cut
    words_an_event: int = 1
    takes_event_usage: bool = False
    has_usage: bool = True  # at the end
    empty: int = 1
    thoughts: int = 0
    held: int = 1
    calls_in_parts: bool = False
    uneven: float = 0.0
    connect_every: int = 0
    cached_words: int = 0  # of each prompt

    def __post_init__(self) -> None:
        self._turn = asyncio.Semaphore(self.lanes)
        self.bodies: list[dict[str, Any]] = []
        self.told: dict[int, Told] = {}  # by number of the request, from 1 on

    async def post(
        self, body: bytes, on_piece: Callable[[float, bytes], None] | None = None
    ) -> Exchange:
        now_s = asyncio.get_running_loop().time
        asked = msgspec.json.decode(body)
        is_counted = asked["stream_options"].get("continuous_usage_stats", False)
        if is_counted and not self.takes_event_usage:
            return Exchange(sent_s=now_s(), ended_s=now_s(), status=400)
        self.bodies.append(asked)
        number, sent_s, reply = len(self.bodies), now_s(), self.reply(asked)
        arrivals: list[tuple[float, bytes]] = []
        is_cut = bool(self.fault_every) and number % self.fault_every == 0
        async with self._turn:
            began_s = now_s()
            events, last = self._plan(asked, reply, began_s, 1 + self.uneven * (number % 5))
            for at_s, data, _ in events[:-1] if is_cut else events:
                if at_s > now_s():
                    await asyncio.sleep(at_s - now_s())
                arrivals.append((now_s(), data))
                if on_piece is not None:
                    on_piece(now_s(), data)
            if not is_cut:
                arrivals.append((now_s(), last))
        shown = [one for at_s, _, one in (events[:-1] if is_cut else events) if one is not None]
        is_new = bool(self.connect_every) and number % self.connect_every == 0
        self.told[number] = Told(
            sent_s=sent_s,
            ended_s=events[-2 if is_cut else -1][0],
            shown=tuple(shown),
            prompt_words=_prompt_words(asked),
            connect_s=0.001 * number if is_new else None,
            is_cut=is_cut,
        )
        return Exchange(
            sent_s=sent_s,
            connect_s=self.told[number].connect_s,
            status=200,
            is_stream=True,
            arrivals=tuple(arrivals),
            ended_s=now_s(),
            fault="the connection broke off" if is_cut else "",
        )

    async def close(self) -> None:
        """Nothing to close."""

    def _plan(
        self, asked: dict[str, Any], reply: str | ToolCall, began_s: float, slow: float
    ) -> tuple[list[tuple[float, bytes, Shown | None]], bytes]:
        """Every event with its time and what it shows; and what ends the stream with the last."""
        events: list[tuple[float, bytes, Shown | None]] = [
            (began_s + 0.01 * index, sse(self._without_content(index)), None)
            for index in range(self.empty)
        ]
        is_counted = asked["stream_options"].get("continuous_usage_stats", False)
        parts, written = self._parts(reply), 0
        for index, (fields, text, words) in enumerate(parts):
            written += words
            let_go = min(index - index % self.held + self.held, len(parts)) - 1
            at_s = began_s + (self.first_s + let_go * self.gap_s) * slow
            so_far = {"usage": {"completion_tokens": written}} if is_counted else {}
            shown = Shown(at_s=at_s, text=text, words=words, is_answer="reasoning" not in fields)
            events.append((at_s, sse(delta(**fields) | so_far), shown))
        usage: dict[str, Any] = {
            "prompt_tokens": _prompt_words(asked),
            "completion_tokens": written,
        }
        if self.cached_words:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_words}
        told = {"usage": usage} if self.has_usage else {}
        return events, sse(delta(finish="stop") | told) + b"data: [DONE]\n\n"

    @staticmethod
    def _without_content(index: int) -> dict[str, Any]:
        """The role alone; then text that is none, and usage of nothing."""
        kinds: tuple[dict[str, Any], ...] = (
            delta(role="assistant", content=""),
            delta(content="", reasoning=None),
            {"choices": [], "usage": {"completion_tokens": 0}},
        )
        return kinds[index % len(kinds)]

    def _parts(self, reply: str | ToolCall) -> list[tuple[dict[str, Any], str, int]]:
        """Fields of each event's delta, the text that they show, and its words."""
        return [*self._worded("reasoning", ["hm"] * self.thoughts), *self._said(reply)]

    def _said(self, reply: str | ToolCall) -> Iterator[tuple[dict[str, Any], str, int]]:
        if not isinstance(reply, ToolCall):
            yield from self._worded("content", reply.split(" "))
            return
        whole = len(reply.arguments)
        size = LETTERS * self.words_an_event if self.calls_in_parts else whole
        for begin in range(0, len(reply.arguments), size):
            part = reply.arguments[begin : begin + size]
            name = "" if begin else reply.name
            function = {"name": name, "arguments": part} if name else {"arguments": part}
            call = {"index": 0, "id": reply.id, "type": "function", "function": function}
            tokens = -(-len(part) // LETTERS) if self.calls_in_parts else 1
            yield {"tool_calls": [call]}, name + part, tokens

    def _worded(self, kind: str, words: list[str]) -> Iterator[tuple[dict[str, Any], str, int]]:
        for begin in range(0, len(words), self.words_an_event):
            some = words[begin : begin + self.words_an_event]
            text = ("" if begin == 0 else " ") + " ".join(some)
            yield {kind: text}, text, len(some)


def _prompt_words(asked: dict[str, Any]) -> int:
    return sum(len(str(m.get("content") or "").split()) for m in asked["messages"])


def scripted(
    name: str, reply: Callable[[dict[str, Any]], str | ToolCall], **options: Any
) -> Endpoint:
    """An endpoint of that name; use it inside `play`."""
    return Endpoint(name=name, model=name, transport=Scripted(reply=reply, **options))


def answered(
    text: str = "", *calls: ToolCall, fault: str = "", at_s: float = 1.0, start_s: float = 0.0
) -> Answer:
    """A whole answer, as one piece."""
    piece = Piece(at_s=at_s, text=text, tokens=1.0, is_answer=True)
    return Answer(
        start_s=start_s, sent_s=start_s, ended_s=at_s, status=200, fault=fault, text=text,
        calls=calls, pieces=(piece,), output_tokens=1.0, finish="stop",
    )  # fmt: skip
