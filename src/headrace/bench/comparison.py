"""Endpoints in pairs: differences of what both did with the same tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headrace.bench.metrics import Attempt, output_speed, ttft_s
from headrace.bench.scenarios import Outcome
from headrace.bench.statistics import Difference, paired

_WHOLE = "whole task, s"
_ALIKE = 0.1  # output tokens of both may differ by as much, where whole tasks are compared
# What is compared, by its name in reports: the number of an attempt.
_COMPARED: Mapping[str, Callable[[Attempt], float | None]] = {
    "TTFT, s": lambda attempt: ttft_s(attempt.answers[0]),
    "output speed, tok/s": lambda attempt: output_speed(attempt.answers[-1]),
    _WHOLE: lambda attempt: attempt.duration_s,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two endpoints in one scenario, in pairs: second minus first."""

    scenario: str
    first: str
    second: str
    metric: str
    difference: Difference


def comparisons(attempts: Sequence[Attempt]) -> list[Comparison]:
    """Of each two endpoints, in the closed scenarios: times of tasks that went well on both."""
    closed = [attempt for attempt in attempts if not attempt.stage]
    names = sorted({attempt.endpoint for attempt in closed})
    scenarios = dict.fromkeys(attempt.scenario for attempt in closed)
    found: list[Comparison] = []
    for scenario in scenarios:
        of_scenario = [attempt for attempt in closed if attempt.scenario == scenario]
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                pair = [[a for a in of_scenario if a.endpoint == name] for name in (first, second)]
                found += _compared(scenario, first, second, pair[0], pair[1])
    return found


def _compared(
    scenario: str, first: str, second: str, ours: Sequence[Attempt], theirs: Sequence[Attempt]
) -> list[Comparison]:
    lengths = [
        {a.task: sum(answer.output_tokens for answer in a.answers) for a in attempts}
        for attempts in (ours, theirs)
    ]
    differences: dict[str, Difference | None] = {}
    for metric, measure in _COMPARED.items():
        values = [
            {
                a.task: value
                for a in attempts
                if a.outcome is not Outcome.FAILED_CALL
                and (metric != _WHOLE or _is_alike(*(of.get(a.task) for of in lengths)))
                and (value := measure(a)) is not None
            }
            for attempts in (ours, theirs)
        ]
        differences[metric] = paired(values[0], values[1], of_means=False)
    passed = [{a.task: float(a.is_passed) for a in attempts} for attempts in (ours, theirs)]
    differences["success, share"] = paired(passed[0], passed[1], of_means=True)
    return [
        Comparison(scenario=scenario, first=first, second=second, metric=metric, difference=found)
        for metric, found in differences.items()
        if found is not None
    ]


def _is_alike(first: float | None, second: float | None) -> bool:
    """Whether two lengths may be compared: who says less is not quicker."""
    if first is None or second is None:
        return False
    return abs(first - second) <= _ALIKE * max(first, second)
