"""The words of the shipped scenarios, and texts of any length made of them from a seed."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from zlib import crc32

import msgspec
import numpy as np


class Words(msgspec.Struct, frozen=True):
    """Contents of `data/v1.json`. Any change of it is a new version, in a new file."""

    version: int
    questions: list[tuple[str, str]]  # and the regular expression of a right answer
    vessels: list[str]
    goods: list[str]
    places: list[str]
    actions: list[str]
    weather: list[str]
    people: list[str]
    cities: list[str]
    facts: list[tuple[str, str]]
    turns: list[str]


@cache
def words() -> Words:
    """The shipped words."""
    data = files("headrace.bench.scenarios").joinpath("data/v1.json").read_bytes()
    return msgspec.json.decode(data, type=Words)


class Writer:
    """Writes texts; the same seed, scenario and number give the same text, any other another."""

    def __init__(self, seed: int, scenario: str, number: int) -> None:
        self._rng = np.random.default_rng((seed, crc32(scenario.encode()), number))
        # Prompt caches look at beginnings: no two tasks begin alike.
        self.label = f"{self._rng.integers(16**8):08x}"

    def pick(self, choices: Sequence[str]) -> str:
        """One of them."""
        return choices[int(self._rng.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(self._rng.integers(low, high + 1))

    def log(self, length_words: int, facts: Sequence[str] = ()) -> str:
        """A harbour's log of `length_words` or a few more, the facts spread over it."""
        known = words()
        lines: list[str] = []
        left = length_words - sum(len(fact.split()) for fact in facts)
        while left > 0 or not lines:
            line = (
                f"Day {len(lines) + 1}: the {self.pick(known.vessels)} {self.pick(known.actions)} "
                f"{self.number(2, 90)} crates of {self.pick(known.goods)} for "
                f"{self.pick(known.places)} {self.pick(known.weather)}."
            )
            left -= len(line.split())
            lines.append(line)
        days = len(lines)
        for index, fact in enumerate(facts):
            lines.insert(round((index + 0.5) * days / len(facts)) + index, fact)
        return f"Log {self.label}. " + " ".join(lines)
