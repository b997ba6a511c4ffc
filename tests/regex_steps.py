"""Counts what a backtracking matcher does, so that a slow pattern is found without a clock.

Interprets the tree that Python's own parser makes of a pattern, trying alternatives in the order of
Python's matcher. It remembers nothing, so its steps grow with a text as that matcher's do.
"""

import re._constants as op  # pyright: ignore[reportMissingImports]
import re._parser as parser  # pyright: ignore[reportMissingImports]
import sys
from collections.abc import Callable, Iterator
from typing import Any

Items = list[tuple[Any, Any]]
Then = Callable[[int], bool]

_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdigit,
    op.CATEGORY_NOT_DIGIT: lambda c: not c.isdigit(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    op.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    op.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


class TooManySteps(Exception):
    """The budget is spent."""


class StepCounter:
    """Matches one pattern and counts the characters and places it looks at."""

    def __init__(self, pattern: str, budget: int) -> None:
        """Raises TooManySteps from `steps` beyond `budget`."""
        self.items: Items = list(parser.parse(pattern))
        self._budget = budget
        self._text = ""
        self._steps = 0

    def steps(self, text: str, *, searches: bool) -> int:
        """For a match at the beginning; `searches`: at each place until one matches."""
        self._text, self._steps = text, 0
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(20_000)
        try:
            for place in range(len(text) + 1 if searches else 1):
                if self._run(self.items, 0, place, lambda _: True):
                    break
        finally:
            sys.setrecursionlimit(before)
        return self._steps

    def _run(self, items: Items, number: int, place: int, then: Then) -> bool:
        self._tick()
        if number == len(items):
            return then(place)
        kind, value = items[number]

        def rest(at: int) -> bool:
            return self._run(items, number + 1, at, then)

        if kind is op.AT:
            return self._is_at(value, place) and rest(place)
        if kind is op.SUBPATTERN:
            return self._run(list(value[3]), 0, place, rest)
        if kind is op.BRANCH:
            return any(self._run(list(branch), 0, place, rest) for branch in value[1])
        if kind in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = value
            assert direction == 1, "no pattern of ours looks back"
            is_there = self._run(list(inner), 0, place, lambda _: True)
            return is_there is (kind is op.ASSERT) and rest(place)
        if kind is op.MAX_REPEAT:
            least, most, inner = value
            return self._repeat(least, most, list(inner), place, rest)
        return self._takes((kind, value), place) and rest(place + 1)

    def _repeat(self, least: int, most: int, inner: Items, place: int, rest: Then) -> bool:
        if len(inner) == 1 and inner[0][0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            end = place
            while end - place < most and self._takes(inner[0], end):
                end += 1
            return any(rest(at) for at in range(end, place + least - 1, -1))

        def again(count: int, at: int) -> bool:
            def more(after: int) -> bool:
                return after > at and again(count + 1, after)

            if count < most and self._run(inner, 0, at, more):
                return True
            return count >= least and rest(at)

        return again(0, place)

    def _takes(self, item: tuple[Any, Any], place: int) -> bool:
        self._tick()
        if place >= len(self._text):
            return False
        kind, value = item
        char = self._text[place]
        match kind:
            case op.LITERAL:
                return ord(char) == value
            case op.NOT_LITERAL:
                return ord(char) != value
            case op.ANY:
                return True
            case op.IN:
                return is_member(value, char)
            case _:
                raise AssertionError(f"{kind}: teach this matcher first")

    def _is_at(self, where: Any, place: int) -> bool:
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return place == 0
        if where is op.AT_BOUNDARY:
            before, after = self._text[place - 1 : place] or " ", self._text[place:][:1] or " "
            is_word = _CATEGORIES[op.CATEGORY_WORD]
            return is_word(before) != is_word(after)
        assert where in (op.AT_END, op.AT_END_STRING), f"{where}: teach this matcher first"
        return place >= len(self._text) - (self._text.endswith("\n") and where is op.AT_END)

    def _tick(self) -> None:
        self._steps += 1
        if self._steps > self._budget:
            raise TooManySteps


def is_member(members: Items, char: str) -> bool:
    """Whether a set like `[a-z_]` has `char`."""
    is_negated = members[0][0] is op.NEGATE
    found = any(_has(kind, value, char) for kind, value in members if kind is not op.NEGATE)
    return found is not is_negated


def _has(kind: Any, value: Any, char: str) -> bool:
    if kind is op.LITERAL:
        return ord(char) == value
    if kind is op.RANGE:
        return value[0] <= ord(char) <= value[1]
    return _CATEGORIES[value](char)


def samples(items: Items) -> Iterator[str]:
    """A text for each beginning of a pattern: what leads a matcher to its next item."""
    said = ""
    yield said
    for item in items:
        said += _sample(item)
        yield said


def _sample(item: tuple[Any, Any]) -> str:
    kind, value = item
    match kind:
        case op.LITERAL:
            return chr(value)
        case op.IN | op.NOT_LITERAL | op.ANY:
            return next((c for c in PUMPED if kind is not op.IN or is_member(value, c)), "a")
        case op.SUBPATTERN:
            return "".join(map(_sample, value[3]))
        case op.BRANCH:
            return "".join(map(_sample, value[1][0]))
        case op.MAX_REPEAT:
            return "".join(map(_sample, value[2])) * max(value[0], 1)
        case _:
            return ""


PUMPED = ' a0A_-.,=%{[<"\x00é'  # one of each kind of character that our patterns tell apart
