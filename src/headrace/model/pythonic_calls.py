"""Tool calls as a list of Python calls with keyword arguments: Llama 3.2's small models, Llama 4.

    [get_weather(city="Paris", unit="C"), get_time(zone="CET")]

Strings, numbers, lists and objects are written as JSON has them, which Python reads alike; true,
false and null as Python spells them where a whole argument is one.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from headrace.model.grammar_text import choice, json_rule, literal
from headrace.model.tool_format import Heard, Mark, allowed, arguments_schema, hear_all
from headrace.types import CallPiece, Tool, Toolbox

_CALL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_.-]{0,63})\(\s*")
_CALL_SO_FAR = re.compile(r"([a-zA-Z_][a-zA-Z0-9_.-]{0,63}\s*)?$")
_KEYWORD = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_-]*)\s*=\s*(.+)\s*$", re.DOTALL)
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class PythonicCalls:
    """See the module."""

    name: str = "pythonic"
    marks: tuple[str, ...] = ()

    def rules(self, toolbox: Toolbox, mark: Mark) -> list[str]:
        """See `ToolFormat`."""
        tools = allowed(toolbox)
        rules: list[str] = []
        for number, tool in enumerate(tools):
            rules.append(f'call_{number}: {literal(tool.name + "(")} keywords_{number}_0 ")"')
            rules += _keyword_rules(number, tool)
        rules.append("call: " + choice([f"call_{number}" for number in range(len(tools))]))
        more = ' (", " call)*' if toolbox.parallel else ""
        return [
            *rules,
            f'calls: "[" call{more} "]"',
            "answer: PLAIN? | calls",
            r"PLAIN: /[^\[\s](.|\n)*/",
        ]

    def reader(self, new_id: Callable[[], str]) -> "PythonicCallReader":
        """See `ToolFormat`."""
        return PythonicCallReader(new_id)


def _keyword_rules(number: int, tool: Tool) -> list[str]:
    """Rules for the arguments of one tool, in the schema's order.

    `keywords_N_K` derives those from K on while none is written yet, `more_N_K` the same after one.
    """
    schema = arguments_schema(tool)
    properties = cast("Mapping[str, Any]", schema.get("properties") or {})
    required = set(cast("list[str]", schema.get("required") or ()))
    rules: list[str] = []
    for k, (name, own) in enumerate(properties.items()):
        pair = f"{literal(name + '=')} value_{number}_{k}"
        first, rest = f"{pair} more_{number}_{k + 1}", f'", " {pair}'
        if name in required:
            rules.append(f"keywords_{number}_{k}: {first}")
            rules.append(f"more_{number}_{k}: {rest} more_{number}_{k + 1}")
        else:
            rules.append(f"keywords_{number}_{k}: {first} | keywords_{number}_{k + 1}")
            rules.append(f"more_{number}_{k}: ({rest})? more_{number}_{k + 1}")
        rules.append(_value_rule(f"value_{number}_{k}", own, schema, strict=tool.strict))
    end = len(properties)
    return [*rules, f'keywords_{number}_{end}: ""', f'more_{number}_{end}: ""']


def _value_rule(name: str, own: object, schema: Mapping[str, Any], *, strict: bool) -> str:
    if not isinstance(own, Mapping):
        return json_rule(name, {}, strict=strict)
    value = cast("Mapping[str, Any]", own)
    if value.get("type") == "boolean" and not {"enum", "const"} & set(value):
        return f'{name}: "True" | "False"'
    if value.get("type") == "null":
        return f'{name}: "None"'
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return json_rule(name, {**shared, **value}, strict=strict)


class PythonicCallReader:
    """Reads answers of `PythonicCalls`; arguments come one whole argument at a time."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._held: str = ""
        self._state: Callable[[], Heard | None] = self._begin
        self._num_arguments = 0  # of the call that is being read
        self._scan = _ArgumentScan()
        self.num_calls = 0

    def push(self, text: str) -> Heard:
        """See `CallReader`."""
        self._held += text
        return hear_all(self._step)

    def flush(self) -> Heard:
        """See `CallReader`."""
        heard = hear_all(self._step)
        held, self._held = self._held, ""
        is_lost = self._state == self._after or not held.strip()
        return heard if is_lost else Heard(text=heard.text + held, calls=heard.calls)

    def _step(self) -> Heard | None:
        return self._state()

    def _begin(self) -> Heard | None:
        lead = self._held.lstrip()
        if not lead:
            return None
        self._state = self._name if lead[0] == "[" else self._text
        return Heard()

    def _text(self) -> Heard | None:
        text, self._held = self._held, ""
        return Heard(text=text) if text else None

    def _name(self) -> Heard | None:
        """The bracket or comma before a call, and the tool's name."""
        lead = self._held.lstrip().lstrip("[,").lstrip()
        found = _CALL.match(lead)
        if found is None:
            if _CALL_SO_FAR.match(lead):
                return None
            self._state = self._text if self.num_calls == 0 else self._after
            return Heard()
        index, self.num_calls = self.num_calls, self.num_calls + 1
        self._held, self._state = lead[found.end() :], self._argument
        self._num_arguments, self._scan = 0, _ArgumentScan()
        return Heard(calls=(CallPiece(index=index, id=self._new_id(), name=found[1]),))

    def _argument(self) -> Heard | None:
        """One argument, up to the comma or parenthesis after it."""
        end = self._scan.push(self._held)
        if end is None:
            return None
        source, mark = self._held[:end], self._held[end]
        self._held, self._scan = self._held[end + 1 :], _ArgumentScan()
        said = _as_json(source)
        if said:
            said = (", " if self._num_arguments else "{") + said
            self._num_arguments += 1
        if mark == ")":
            said += "}" if self._num_arguments else "{}"
            self._state = self._between
        return Heard(calls=(CallPiece(index=self.num_calls - 1, arguments=said),))

    def _between(self) -> Heard | None:
        lead = self._held.lstrip()
        if not lead:
            return None
        self._held, self._state = lead, self._name if lead[0] == "," else self._after
        return Heard()

    def _after(self) -> Heard | None:
        return None


class _ArgumentScan:
    """Finds the comma or parenthesis that ends an argument which comes in pieces."""

    def __init__(self) -> None:
        self._seen = self._depth = 0
        self._quote = ""
        self._is_escaped = False

    def push(self, text: str) -> int | None:
        """Where it ends in `text`, of which more has come; None: not yet."""
        for place in range(self._seen, len(text)):
            char = text[place]
            if self._quote:
                if self._is_escaped:
                    self._is_escaped = False
                elif char == "\\":
                    self._is_escaped = True
                elif char == self._quote:
                    self._quote = ""
            elif char in "\"'":
                self._quote = char
            elif self._depth == 0 and char in ",)":
                return place
            elif char in "([{":
                self._depth += 1
            elif char in ")]}":
                self._depth -= 1
        self._seen = len(text)
        return None


def _as_json(source: str) -> str:
    """`name=value` as a member of a JSON object; empty when nothing is there."""
    found = _KEYWORD.match(source)
    if found is None:
        return ""
    name, value = found[1], found[2].strip()
    return f"{json.dumps(name)}: {_value_as_json(value)}"


def _value_as_json(value: str) -> str:
    if value in _WORDS:
        return json.dumps(_WORDS[value])
    try:
        json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        try:
            return json.dumps(ast.literal_eval(value), allow_nan=False)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return json.dumps(value)  # no value that we know: what was written, as text
    return value


def _no_number(word: str) -> None:
    """Python's JSON reader takes NaN and Infinity, which JSON has not. Raises ValueError."""
    raise ValueError(f"{word} is no JSON")
