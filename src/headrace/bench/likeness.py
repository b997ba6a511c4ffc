"""Do two endpoints answer alike? Their last answers to the same task, word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations

from headrace.bench.client import Answer
from headrace.bench.metrics import Attempt
from headrace.bench.scenarios import Outcome
from headrace.bench.statistics import Difference, Estimate, mean, paired

_MOST_WORDS = 1_000  # compared; the time of it grows with the square


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Of two endpoints in one scenario, over tasks that both answered."""

    scenario: str
    first: str
    second: str
    same: Estimate  # share of answers with the same words and the same calls
    like: Estimate  # words in common in their order, 2 x common / all: 0..1, mean
    longer: Difference  # output tokens, second minus first, mean


def likenesses(attempts: Sequence[Attempt]) -> list[Likeness]:
    """For each scenario that was not under load, and each two endpoints."""
    answers: dict[str, dict[str, dict[str, Answer]]] = {}
    for a in attempts:
        if not a.stage and a.outcome is not Outcome.FAILED_CALL:
            of_scenario = answers.setdefault(a.scenario, {})
            of_scenario.setdefault(a.endpoint, {})[a.task] = a.answers[-1]
    found: list[Likeness] = []
    for scenario, by_endpoint in answers.items():
        for first, second in combinations(sorted(by_endpoint), 2):
            ours, theirs = by_endpoint[first], by_endpoint[second]
            pairs = [(ours[task], theirs[task]) for task in ours if task in theirs]
            likes = [_like(a, b) for a, b in pairs]
            same, like = mean([float(value == 1.0) for value in likes]), mean(likes)
            tokens = [{t: a.output_tokens for t, a in each.items()} for each in (ours, theirs)]
            longer = paired(tokens[0], tokens[1], of_means=True)
            if same is not None and like is not None and longer is not None:
                told = Likeness(scenario=scenario, first=first, second=second, same=same,
                                like=like, longer=longer)  # fmt: skip
                found.append(told)
    return found


def _words(answer: Answer) -> list[str]:
    words = answer.text.split()[:_MOST_WORDS]
    for call in answer.calls:
        words += [call.name, *call.arguments.split()]
    return words


def _like(first: Answer, second: Answer) -> float:
    """1 for the same words, 0 for none in common (Ratcliff and Obershelp's measure)."""
    return SequenceMatcher(None, _words(first), _words(second), autojunk=False).ratio()
