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


@dataclass(kw_only=True)
class Scripted:
    """Answers `reply(body)` word by word: the first after `first_s`, then one each `gap_s`.

    With `lanes`, only so many requests are worked on at once; the others wait their turn. Events
    hold `words_an_event`, and say so in usage of their own if there are several; the first
    `thoughts` events are reasoning. A proxy lets `held` of them go together.
    """

    reply: Callable[[dict[str, Any]], str | ToolCall]
    first_s: float = 0.1
    gap_s: float = 0.01
    lanes: int = 1_000
    fault_every: int = 0  # each n-th answer is cut
    words_an_event: int = 1
    thoughts: int = 0
    held: int = 1

    def __post_init__(self) -> None:
        self._turn = asyncio.Semaphore(self.lanes)
        self.bodies: list[dict[str, Any]] = []

    async def post(
        self, body: bytes, on_piece: Callable[[float, bytes], None] | None = None
    ) -> Exchange:
        now_s = asyncio.get_running_loop().time
        asked = msgspec.json.decode(body)
        self.bodies.append(asked)
        number = len(self.bodies)
        sent_s = now_s()
        arrivals: list[tuple[float, bytes]] = []
        async with self._turn:
            first, *events, last = self._stream(asked, self.reply(asked))
            arrivals.append((now_s(), first))
            for begin in range(0, len(events), self.held):
                group = events[begin : begin + self.held]
                waits = [self.gap_s] * len(group)
                waits[0] = self.gap_s if begin else self.first_s
                await asyncio.sleep(sum(waits))
                for data in group:
                    arrivals.append((now_s(), data))
                    if on_piece is not None:
                        on_piece(now_s(), data)
            arrivals.append((now_s(), last))
        is_cut = self.fault_every and number % self.fault_every == 0
        return Exchange(
            sent_s=sent_s,
            status=200,
            is_stream=True,
            arrivals=tuple(arrivals[:-2] if is_cut else arrivals),
            ended_s=now_s(),
            fault="the connection broke off" if is_cut else "",
        )

    async def close(self) -> None:
        """Nothing to close."""

    def _stream(self, asked: dict[str, Any], reply: str | ToolCall) -> Iterator[bytes]:
        yield sse(delta(role="assistant", content=""))
        if isinstance(reply, ToolCall):
            function = {"name": reply.name, "arguments": reply.arguments}
            call = {"index": 0, "id": reply.id, "type": "function", "function": function}
            yield sse(delta(tool_calls=[call]))
            written = 1
        else:
            words, size = reply.split(" "), self.words_an_event
            for index, begin in enumerate(range(0, len(words), size)):
                some = words[begin : begin + size]
                text = ("" if begin == 0 else " ") + " ".join(some)
                kind = "reasoning" if index < self.thoughts else "content"
                so_far = {"usage": {"completion_tokens": begin + len(some)}} if size > 1 else {}
                yield sse(delta(**{kind: text}) | so_far)
            written = len(words)
        prompt = sum(len(str(m.get("content") or "").split()) for m in asked["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": written}
        yield sse({**delta(finish="stop"), "usage": usage}) + b"data: [DONE]\n\n"


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
