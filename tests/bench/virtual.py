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

    With `lanes`, only so many requests are worked on at once; the others wait their turn.
    """

    reply: Callable[[dict[str, Any]], str | ToolCall]
    first_s: float = 0.1
    gap_s: float = 0.01
    lanes: int = 1_000
    fault_every: int = 0  # each n-th answer is cut

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
            for data in _stream(asked, self.reply(asked)):
                if len(arrivals) == 1:
                    await asyncio.sleep(self.first_s)
                elif arrivals and b"usage" not in data:
                    await asyncio.sleep(self.gap_s)
                arrivals.append((now_s(), data))
                if on_piece is not None:
                    on_piece(now_s(), data)
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


def _stream(asked: dict[str, Any], reply: str | ToolCall) -> Iterator[bytes]:
    yield sse(delta(role="assistant", content=""))
    if isinstance(reply, ToolCall):
        function = {"name": reply.name, "arguments": reply.arguments}
        call = {"index": 0, "id": reply.id, "type": "function", "function": function}
        yield sse(delta(tool_calls=[call]))
        written = 1
    else:
        words = reply.split(" ")
        for index, word in enumerate(words):
            yield sse(delta(content=word if index == 0 else f" {word}"))
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
