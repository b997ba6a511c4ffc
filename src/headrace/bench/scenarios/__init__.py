"""What is asked of endpoints: tasks with checkers, their words shipped and versioned."""

from headrace.bench.scenarios.registry import SCENARIOS, Scenario, scenario_named
from headrace.bench.scenarios.task import PLAIN, STRUCTURED, Call, Extensions, Outcome, Task

__all__ = [
    "PLAIN",
    "SCENARIOS",
    "STRUCTURED",
    "Call",
    "Extensions",
    "Outcome",
    "Scenario",
    "Task",
    "scenario_named",
]
