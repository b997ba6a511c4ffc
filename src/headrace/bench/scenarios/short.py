"""One call each: a short question, a long summary, a tool call, and a shape without a question."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.bench.client import Answer
from headrace.bench.scenarios.schema import follows
from headrace.bench.scenarios.task import Call, Outcome
from headrace.bench.scenarios.words import Writer, words

_SUMMARY_WORDS = 250  # asked for: 200
_QUESTION_WORDS = 70  # after the log, and the log's last line
TOOLS: Sequence[Mapping[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": told,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }
    for name, told, properties in (
        (
            "book_freight",
            "Book space on a ship.",
            {
                "goods": {"type": "string"},
                "crates": {"type": "integer"},
                "destination": {"type": "string"},
            },
        ),
        ("cancel_booking", "Cancel a booking.", {"booking_id": {"type": "string"}}),
        (
            "convert_weight",
            "Convert a weight.",
            {
                "kilograms": {"type": "number"},
                "unit": {"type": "string", "enum": ["pounds", "stone", "tonnes"]},
            },
        ),
    )
]
_PARAMETERS = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCall:
    """A task of one call, whose text must match all of `patterns` in at most so many words."""

    id: str
    scenario: str
    call: Call
    patterns: tuple[str, ...] = ()
    max_words: int | None = None

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """Its call, once."""
        return None if answers else self.call

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """WRONG_ANSWER where a pattern is missing or the text is too long."""
        text = answers[-1].text
        is_found = all(re.search(pattern, text, re.IGNORECASE) for pattern in self.patterns)
        is_short = self.max_words is None or len(text.split()) <= self.max_words
        return Outcome.PASSED if is_found and is_short else Outcome.WRONG_ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class OneToolCall:
    """A task whose answer is a call of the right tool with the right arguments."""

    id: str
    scenario: str
    call: Call
    tool: str
    arguments: Mapping[str, Any]

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """Its call, once."""
        return None if answers else self.call

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """The first thing that is wrong: tool, JSON, schema, arguments."""
        calls = answers[-1].calls
        if len(calls) != 1 or calls[0].name not in _PARAMETERS:
            return Outcome.WRONG_TOOL
        try:
            given = msgspec.json.decode(calls[0].arguments)
        except msgspec.DecodeError:
            return Outcome.INVALID_JSON
        if not follows(given, _PARAMETERS[calls[0].name]):
            return Outcome.INVALID_SCHEMA
        if calls[0].name != self.tool:
            return Outcome.WRONG_TOOL
        return Outcome.PASSED if _same(given, self.arguments) else Outcome.WRONG_ARGUMENTS


def _same(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def plain(value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    return {k: plain(v) for k, v in given.items()} == {k: plain(v) for k, v in wanted.items()}


def question(scenario: str, seed: int, number: int) -> OneCall:
    """A question with one right answer."""
    asked, pattern = words().questions[number % len(words().questions)]
    label = Writer(seed, scenario, number).label
    text = f"[{label}] {asked} Answer in one short sentence."
    messages = ({"role": "user", "content": text},)
    call = Call(messages=messages, max_tokens=64)
    return OneCall(id=f"{scenario}/{number}", scenario=scenario, call=call, patterns=(pattern,))


def summary(scenario: str, seed: int, number: int, length_words: int) -> OneCall:
    """A log to be summarised, with five facts that must occur; `length_words` with the question."""
    writer, known = Writer(seed, scenario, number), words()
    told = {
        "person": writer.pick(known.people),
        "day": str(writer.number(100, 999)),
        "sum": str(writer.number(1_000, 9_999)),
        "vessel": writer.pick(known.vessels),
        "place": writer.pick(known.places),
    }
    log = writer.log(
        length_words - _QUESTION_WORDS, [template.format(**told) for template, _ in known.facts]
    )
    text = (
        f"{log}\n\nSummarise this log in at most 200 words. Say who the harbour master is, on "
        "which day the storm of the year came, how large the debt is, which ship was lost and "
        "where the new pier will be built."
    )
    return OneCall(
        id=f"{scenario}/{number}",
        scenario=scenario,
        call=Call(messages=({"role": "user", "content": text},), max_tokens=400),
        patterns=tuple(_fact(told[name]) for _, name in known.facts),
        max_words=_SUMMARY_WORDS,
    )


def _fact(told: str) -> str:
    """A pattern of a fact; thousands may have a separator."""
    if told.isdigit() and len(told) > 3:
        return rf"\b{told[:-3]}[,. ]?{told[-3:]}\b"
    return rf"\b{re.escape(told)}\b"


def tool_call(scenario: str, seed: int, number: int) -> OneToolCall:
    """Something that one of three tools does."""
    writer, known = Writer(seed, scenario, number), words()
    arguments: dict[str, Any]
    tool = ("book_freight", "cancel_booking", "convert_weight")[number % 3]
    if tool == "book_freight":
        goods, place = writer.pick(known.goods), writer.pick(known.places)
        arguments = {"goods": goods, "crates": writer.number(2, 90), "destination": place}
        text = f"Please book freight: {arguments['crates']} crates of {goods} to {place}."
    elif tool == "cancel_booking":
        arguments = {"booking_id": f"HB-{writer.number(1000, 9999)}"}
        text = f"The booking {arguments['booking_id']} is no longer needed, please cancel it."
    else:
        unit = writer.pick(["pounds", "stone", "tonnes"])
        arguments = {"kilograms": writer.number(10, 900), "unit": unit}
        text = f"How much is {arguments['kilograms']} kilograms in {unit}?"
    messages = ({"role": "user", "content": f"[{writer.label}] {text}"},)
    call = Call(messages=messages, max_tokens=128, tools=TOOLS, tool_choice="required")
    return OneToolCall(
        id=f"{scenario}/{number}", scenario=scenario, call=call, tool=tool, arguments=arguments
    )


def shape(scenario: str, seed: int, number: int, length_words: int, max_tokens: int) -> OneCall:
    """A prompt of about so many words and a long answer: speed alone, any answer is right."""
    log = Writer(seed, scenario, number).log(length_words)
    text = f"{log}\n\nContinue this log, day by day, at length."
    messages = ({"role": "user", "content": text},)
    call = Call(messages=messages, max_tokens=max_tokens, is_full_length=True)
    return OneCall(id=f"{scenario}/{number}", scenario=scenario, call=call)
