"""A model that knows every answer, and gets each third request wrong. It says what is which."""

import json
import re
from typing import Any

from headrace.bench.client import ToolCall
from headrace.bench.scenarios import Outcome

# To the shipped questions, in their order.
ANSWERS = (
    "Canberra", "195", "102", "Sodium", "Shakespeare", "12", "Jupiter", "1989", "100", "Indian",
    "6", "femur", "Portuguese", "1024", "carbon dioxide", "yen", "180", "Leonardo", "Ottawa", "90",
    "mercury", "2", "Paris", "32",
)  # fmt: skip
_FACT = r"(?:The harbour|The storm|The debt|The ship that|The new)[^.]*\."
_WRONG_CALLS = (
    (Outcome.INVALID_JSON, "cancel_booking", '{"booking_id": "HB-10'),
    (Outcome.INVALID_SCHEMA, "convert_weight", '{"kilograms": "a few", "unit": "grains"}'),
    (Outcome.WRONG_TOOL, "no_such_tool", '{"anything": "whatever it may be"}'),
    (Outcome.WRONG_ARGUMENTS, "", ""),  # the right call, with something else in it
)


class Pupil:
    """Replies of at least so many words (spaces, after a call's arguments), by turns."""

    def __init__(self, questions: list[str], lengths: tuple[int, ...] = (20,)) -> None:
        """`questions` are the shipped ones."""
        self._answers = dict(zip(questions, ANSWERS, strict=True))
        self._lengths = lengths
        self.outcomes: dict[int, Outcome] = {}  # of request n, if its task ends with it

    def __call__(self, body: dict[str, Any]) -> str | ToolCall:
        number = len(self.outcomes) + 1
        is_right, least = number % 3 != 0, self._lengths[number % len(self._lengths)]
        asked, first = (str(body["messages"][at]["content"]) for at in (-1, 0))
        if "tools" in body:
            self.outcomes[number], name, text = self._call(number, asked, is_right)
            return ToolCall(id=f"call-{number}", name=name, arguments=text + " " * least)
        answer = self._answer(asked, first)
        self.outcomes[number] = Outcome.PASSED if is_right or answer == "" else Outcome.WRONG_ANSWER
        said = answer.split() if is_right else []
        return " ".join([*said, *["well"] * (least - len(said))])

    def _answer(self, asked: str, first: str) -> str:
        """What must occur; nothing where any text is right."""
        if "Summarise this log" in asked:
            return " ".join(re.findall(_FACT, asked.partition("\n\n")[0]))
        if "What is my name" in asked:
            return first
        question = re.sub(r"^\[\w+\] | Answer in one short sentence\.$", "", asked)
        return self._answers.get(question, "")

    def _call(self, number: int, asked: str, is_right: bool) -> tuple[Outcome, str, str]:
        """What comes of it, and the call's name and arguments."""
        name, arguments = _understood(asked)
        if is_right:
            return Outcome.PASSED, name, json.dumps(arguments)
        outcome, other, given = _WRONG_CALLS[number // 3 % len(_WRONG_CALLS)]
        if outcome is Outcome.WRONG_ARGUMENTS:
            return outcome, name, json.dumps(_else(arguments))
        return outcome, other, given


def _understood(asked: str) -> tuple[str, dict[str, Any]]:
    """The call that a request wants."""
    if found := re.search(r"freight: (\d+) crates of (.*) to (.*)\.$", asked):
        goods = {"goods": found[2], "crates": int(found[1]), "destination": found[3]}
        return "book_freight", goods
    if found := re.search(r"(HB-\d+)", asked):
        return "cancel_booking", {"booking_id": found[1]}
    found = re.search(r"How much is (\d+) kilograms in (\w+)\?", asked)
    assert found is not None
    return "convert_weight", {"kilograms": int(found[1]), "unit": found[2]}


def _else(arguments: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(arguments))
    value = arguments[first]
    return arguments | {first: value + 1 if isinstance(value, int) else f"{value} or so"}
