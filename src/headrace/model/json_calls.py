"""Tool calls as JSON objects between marks: Llama 3, Hermes and Qwen, Mistral."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from headrace.model.grammar_text import choice, json_rule, literal
from headrace.model.tool_format import Heard, Mark, allowed, arguments_schema, hear_all
from headrace.types import CallPiece, Tool, Toolbox

_MARK = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
_HEAD = re.compile(
    r'[\s\[]*\{\s*"name"\s*:\s*"([a-zA-Z0-9_.-]{1,64})"\s*,\s*"([a-z]+)"\s*:\s*(?=\{)'
)
_BEGINNING = re.compile(r'[\s\[]*(\{\s*("|$)|$)')  # of a head
_LONGEST_HEAD = 256  # characters; what begins a call and is longer is none


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCalls:
    """Calls are objects of two members: the tool's name, and its arguments."""

    name: str
    opening: str  # before the first call
    between: str  # two calls
    closing: str  # after the last one
    arguments: str  # the name of the second member
    optional_opening: bool = False  # an answer that begins with a brace is a call, too

    @property
    def marks(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return tuple(dict.fromkeys(_MARK.findall(self.opening + self.between + self.closing)))

    def rules(self, toolbox: Toolbox, mark: Mark) -> list[str]:
        """See `ToolFormat`."""
        tools = allowed(toolbox)
        rules: list[str] = []
        for number, tool in enumerate(tools):
            if self.optional_opening:  # an answer in JSON may begin alike: both must be JSON rules
                schema = self._call_schema(tool)
                rules.append(json_rule(f"call_{number}", schema, strict=tool.strict))
                continue
            head = literal(f'{{"name": "{tool.name}", "{self.arguments}": ')
            rules.append(f'call_{number}: {head} arguments_{number} "}}"')
            schema = arguments_schema(tool)
            rules.append(json_rule(f"arguments_{number}", schema, strict=tool.strict))
        rules.append("call: " + choice([f"call_{number}" for number in range(len(tools))]))
        more = f" ({_spell(self.between, mark)} call)*" if toolbox.parallel else ""
        body = f"call{more} {_spell(self.closing, mark)}"
        opening = _spell(self.opening, mark)
        if self.optional_opening:
            opening = f"{opening}?" if opening.startswith("<") else ""
        return [*rules, f"calls: {opening} {body}", *self._answer(body, mark)]

    def _call_schema(self, tool: Tool) -> dict[str, object]:
        """A whole call, with the definitions of its arguments where references look for them."""
        inner = arguments_schema(tool)
        shared = {key: inner.pop(key) for key in ("$defs", "definitions") if key in inner}
        return {
            **shared,
            "type": "object",
            "properties": {"name": {"const": tool.name}, self.arguments: inner},
            "required": ["name", self.arguments],
            "additionalProperties": False,
        }

    def _answer(self, body: str, mark: Mark) -> list[str]:
        found = _MARK.match(self.opening)
        assert found is not None, "an opening begins with a mark"
        if self.optional_opening:  # text and calls are told apart by their first character
            return ["answer: PLAIN? | calls", r"PLAIN: /[^{\s](.|\n)*/"]
        trigger, rest = found[0], self.opening[found.end() :]
        if mark(trigger).startswith("<"):  # a token of its own, which no text spells
            return ["answer: TEXT? | TEXT? calls", r"TEXT: /(.|\n)+/"]
        pattern = re.escape(trigger).replace("/", r"\/")
        return [
            "answer: TEXT? | until_call after_mark",
            f"until_call[lazy]: /(.|\\n)*{pattern}/",
            f"after_mark: {_spell(rest, mark)} {body}",
            r"TEXT: /(.|\n)+/",
        ]

    def reader(self, new_id: Callable[[], str]) -> "JsonCallReader":
        """See `ToolFormat`."""
        return JsonCallReader(self, new_id)


LLAMA3 = JsonCalls(
    name="llama3_json",
    opening="<|python_tag|>",
    between="; ",
    closing="",
    arguments="parameters",
    optional_opening=True,
)
HERMES = JsonCalls(
    name="hermes",
    opening="<tool_call>\n",
    between="\n</tool_call>\n<tool_call>\n",
    closing="\n</tool_call>",
    arguments="arguments",
)
MISTRAL = JsonCalls(
    name="mistral",
    opening="[TOOL_CALLS][",
    between=", ",
    closing="]",
    arguments="arguments",
)


class JsonCallReader:
    """Reads answers of `JsonCalls`. White space and the second member's name are taken as come."""

    def __init__(self, form: JsonCalls, new_id: Callable[[], str]) -> None:
        self._form = form
        self._new_id = new_id
        self._held: str = ""  # read, and not understood yet
        self._state: Callable[[], Heard | None] = self._text
        self._mark: str = ""  # that was read before the head of a call
        self._is_first = True  # nothing was said yet
        self._scan = ObjectScan()
        self.num_calls = 0

    def push(self, text: str) -> Heard:
        """See `CallReader`."""
        self._held += text
        return hear_all(self._step)

    def flush(self) -> Heard:
        """See `CallReader`."""
        heard = hear_all(self._step)
        held, self._held = self._mark + self._held, ""
        is_lost = self._state == self._tail or not held.strip()
        return heard if is_lost else Heard(text=heard.text + held, calls=heard.calls)

    def _step(self) -> Heard | None:
        return self._state()

    def _text(self) -> Heard | None:
        """Text, up to the mark that opens a call."""
        form, held = self._form, self._held
        if not held:
            return None
        opening = form.marks[0]
        place = held.find(opening)
        if form.optional_opening and self._is_first:
            lead = held.lstrip()
            if not lead:
                return None
            if lead[0] == "{":
                self._state, self._is_first = self._head, False
                return Heard()
        if place >= 0:
            self._state, self._is_first = self._head, False
            self._mark, self._held = opening, held[place + len(opening) :]
            return Heard(text=held[:place])
        keep = overlap(held, opening)
        said, self._held = held[: len(held) - keep], held[len(held) - keep :]
        if not said:
            return None
        self._is_first = False
        return Heard(text=said)

    def _head(self) -> Heard | None:
        """The tool's name; what cannot become one makes all of it text."""
        found = _HEAD.match(self._held)
        if found is None:
            if len(self._held) <= _LONGEST_HEAD and _BEGINNING.match(self._held):
                return None
            text = self._mark + self._held
            self._state, self._mark, self._held = self._text, "", ""
            return Heard(text=text)
        index, self.num_calls = self.num_calls, self.num_calls + 1
        self._scan = ObjectScan()
        self._state, self._mark, self._held = self._arguments, "", self._held[found.end() :]
        return Heard(calls=(CallPiece(index=index, id=self._new_id(), name=found[1]),))

    def _arguments(self) -> Heard | None:
        """The arguments, until their braces close."""
        if not self._held:
            return None
        end = self._scan.push(self._held)
        said, self._held = self._held[:end], self._held[end:]
        if self._scan.is_over:
            self._state = self._tail
        return Heard(calls=(CallPiece(index=self.num_calls - 1, arguments=said),))

    def _tail(self) -> Heard | None:
        """Braces and marks after a call, until another begins."""
        place = self._held.find("{")
        if place < 0:
            return None
        self._state, self._held = self._head, self._held[place:]
        return Heard()


class ObjectScan:
    """Finds where a JSON object ends that comes in pieces."""

    def __init__(self) -> None:
        self.is_over = False
        self._depth = 0
        self._in_string = self._is_escaped = False

    def push(self, text: str) -> int:
        """How much of `text` belongs to the object."""
        for place, char in enumerate(text):
            if self._in_string:
                if self._is_escaped:
                    self._is_escaped = False
                elif char == "\\":
                    self._is_escaped = True
                elif char == '"':
                    self._in_string = False
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_over = True
                    return place + 1
        return len(text)


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `mark`."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0


def _spell(text: str, mark: Mark) -> str:
    """`text` in a grammar, its marks as `mark` has them."""
    parts: list[str] = []
    start = 0
    for found in _MARK.finditer(text):
        parts += [literal(text[start : found.start()])] if found.start() > start else []
        parts.append(mark(found[0]))
        start = found.end()
    parts += [literal(text[start:])] if start < len(text) else []
    return " ".join(parts)
