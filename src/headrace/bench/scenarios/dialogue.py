"""Eight turns: what was said in the first is asked in the last."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.bench.client import Answer
from headrace.bench.scenarios.task import Call, Outcome
from headrace.bench.scenarios.words import Writer, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """What the user says, turn by turn, and what the last answer must contain."""

    id: str
    scenario: str
    turns: tuple[str, ...]
    facts: tuple[str, ...]

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """The dialogue so far, with the next turn."""
        if len(answers) == len(self.turns):
            return None
        messages: list[dict[str, str]] = []
        for turn, answer in zip(self.turns, answers, strict=False):
            messages.append({"role": "user", "content": turn})
            messages.append({"role": "assistant", "content": answer.text})
        messages.append({"role": "user", "content": self.turns[len(answers)]})
        return Call(messages=messages, max_tokens=48)

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """WRONG_ANSWER where a fact of turn 1 is missing from the last answer."""
        last = answers[-1].text
        if all(re.search(rf"\b{re.escape(fact)}\b", last, re.IGNORECASE) for fact in self.facts):
            return Outcome.PASSED
        return Outcome.WRONG_ANSWER


def dialogue(scenario: str, seed: int, number: int) -> Dialogue:
    """Somebody plans a trip."""
    writer, known = Writer(seed, scenario, number), words()
    person, city = writer.pick(known.people), writer.pick(known.cities)
    people = str(writer.number(11, 99))
    first = (
        f"[{writer.label}] I am {person} and plan a trip to {city} for {people} people. "
        "Remember that. Are you ready?"
    )
    last = "What is my name, where do I want to go, and for how many people? One sentence."
    return Dialogue(
        id=f"{scenario}/{number}",
        scenario=scenario,
        turns=(first, *known.turns, last),
        facts=(person, city, people),
    )
