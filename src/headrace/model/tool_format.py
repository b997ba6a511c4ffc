"""How a model family writes tool calls: the grammar it is held to, and who reads what it wrote.

Whatever the family, a call is a tool's name and a JSON object of arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from headrace.types import CallPiece, Tool, Toolbox

Mark = Callable[[str], str]  # a spelling as a grammar writes it: a control token, or text


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a reader made of some text."""

    text: str = ""  # the answer's own
    calls: tuple[CallPiece, ...] = ()


class CallReader(Protocol):
    """Reads one answer as it comes. What all of its `Heard` say, joined, is the whole answer."""

    @property
    def num_calls(self) -> int:
        """Calls that have begun."""
        ...

    def push(self, text: str) -> Heard:
        """Read more of the answer."""
        ...

    def flush(self) -> Heard:
        """The rest, at its end: what looked like the beginning of a call and is none is text."""
        ...


def hear_all(step: Callable[[], Heard | None]) -> Heard:
    """What a reader makes of all it holds: its next `step` until there is none."""
    text, calls = "", list[CallPiece]()
    while (said := step()) is not None:
        text += said.text
        calls += said.calls
    return Heard(text=text, calls=tuple(calls))


class ToolFormat(Protocol):
    """One way to write calls."""

    @property
    def name(self) -> str:
        """As settings spell it."""
        ...

    @property
    def marks(self) -> tuple[str, ...]:
        """Spellings around calls that may be control tokens; a reader wants to see them."""
        ...

    def rules(self, toolbox: Toolbox, mark: Mark) -> list[str]:
        """Lark rules: `calls` derives the calls that `toolbox` allows, at least one.

        `answer` derives what an answer is that need not call: free text, calls, or text and calls,
        as the family mixes them.
        """
        ...

    def reader(self, new_id: Callable[[], str]) -> CallReader:
        """A reader of one answer; `new_id` gives each call its id."""
        ...


def allowed(toolbox: Toolbox) -> list[Tool]:
    """The tools that may be called."""
    return [tool for tool in toolbox.tools if toolbox.only in ("", tool.name)]


def arguments_schema(tool: Tool) -> dict[str, object]:
    """The schema that arguments follow; a tool without parameters takes none."""
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return {"type": "object", **tool.parameters}
