"""How a model family writes an answer: what it thinks, what it says, which tools it calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.types import CallPiece, ReasoningFormat, Request, ToolUse


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of an answer, told apart."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()


class AnswerReader(Protocol):
    """Reads one answer as it comes."""

    @property
    def spelled(self) -> Mapping[int, bytes]:
        """The control tokens it wants to see, and how their text is written for it."""
        ...

    @property
    def reasoning_format(self) -> ReasoningFormat:
        """Where what is thought goes."""
        ...

    @property
    def has_called(self) -> bool:
        """Whether a tool was called."""
        ...

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is of a thought, as far as is known."""
        ...

    def push(self, text: str, token_id: int | None = None) -> Said:
        """Read more of the answer: `text`, which token `token_id` completed."""
        ...

    def flush(self) -> Said:
        """The rest, at the answer's end."""
        ...


class AnswerFormat(Protocol):
    """One way to write answers."""

    @property
    def thinks(self) -> bool:
        """Whether the model may think before it answers."""
        ...

    def is_thinking(self, prompt_end: str) -> bool:
        """Whether a prompt that ends so has the model begin inside a thought."""
        ...

    def grammar(self, request: Request, *, is_thinking: bool) -> str:
        """What `request` asks of its answer, for the engine to compile; "": it is free.

        `is_thinking`: the prompt has opened a thought.
        """
        ...

    def reader(
        self, request: Request, new_id: Callable[[], str], *, is_thinking: bool
    ) -> AnswerReader | None:
        """A reader of one answer to `request`; None: all that it says is text.

        `new_id` gives each call its id.
        """
        ...


def may_call(request: Request) -> bool:
    """Whether an answer to `request` may call tools."""
    return request.toolbox is not None and request.toolbox.use is not ToolUse.NONE
