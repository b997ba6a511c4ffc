"""What is asked of endpoints: tasks with checkers, their words shipped and versioned."""

from headrace.bench.scenarios.registry import SCENARIOS, Scenario, scenario_named
from headrace.bench.scenarios.task import STRUCTURED, Call, Outcome, Task

__all__ = ["SCENARIOS", "STRUCTURED", "Call", "Outcome", "Scenario", "Task", "scenario_named"]
