"""The scenarios by name: five that are asked by default, and shapes that others publish."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.bench.scenarios.dialogue import dialogue
from headrace.bench.scenarios.short import question, shape, summary, tool_call
from headrace.bench.scenarios.task import Task
from headrace.errors import ConfigError

_LONG_SHARE = 5  # every fifth task of the mix has a long prompt
_WORDS_OF_LONG = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A kind of task. `make(seed, number, words)` gives one; `words` bounds a long prompt."""

    name: str
    title: str
    tasks: int  # asked by default
    make: Callable[[int, int, int], Task]
    words: int  # of the longest prompt
    max_tokens: int  # of an answer
    is_load: bool = False  # open loop, at shares of measured capacity
    is_default: bool = True
    is_full_length: bool = False  # answers are as long as `max_tokens`, where endpoints can do that
    calls: int = 1  # of a task


def _mixed(seed: int, number: int, words: int) -> Task:
    if number % _LONG_SHARE == _LONG_SHARE - 1:
        return summary("mix", seed, number, words)
    return question("mix", seed, number)


def _warm(seed: int, number: int, words: int) -> Task:
    """The same prompt each time: what a cache of prompts is worth."""
    return replace(summary("warm-cache", seed, 0, words), id=f"warm-cache/{number}")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="short",
            title="Short question",
            tasks=48,
            make=lambda seed, number, _: question("short", seed, number),
            words=40,
            max_tokens=64,
        ),
        Scenario(
            name="summary-10k",
            title="Summary of 10,000 words",
            tasks=5,
            make=lambda seed, number, words: summary("summary-10k", seed, number, words),
            words=10_000,
            max_tokens=400,
        ),
        Scenario(
            name="summary-30k",
            title="Summary of 30,000 words",
            tasks=3,
            make=lambda seed, number, words: summary("summary-30k", seed, number, words),
            words=30_000,
            max_tokens=400,
        ),
        Scenario(
            name="tool-call",
            title="JSON tool call",
            tasks=30,
            make=lambda seed, number, _: tool_call("tool-call", seed, number),
            words=40,
            max_tokens=128,
        ),
        Scenario(
            name="dialogue",
            title="Dialogue of eight turns",
            tasks=8,
            make=lambda seed, number, _: dialogue("dialogue", seed, number),
            words=600,
            max_tokens=48,
            calls=8,
        ),
        Scenario(
            name="mix",
            title="Worst-case mix under load",
            tasks=0,
            make=_mixed,
            words=_WORDS_OF_LONG,
            max_tokens=400,
            is_load=True,
        ),
        Scenario(
            name="warm-cache",
            title="The same 2,000 words again",
            tasks=12,
            make=_warm,
            words=_WORDS_OF_LONG,
            max_tokens=400,
            is_default=False,
        ),
        *(
            Scenario(
                name=name,
                title=f"Shape: about {told} tokens",
                tasks=6,
                make=lambda seed, number, words, name=name, output=output: shape(
                    name, seed, number, words, output
                ),
                words=words,
                max_tokens=output,
                is_default=False,
                is_full_length=True,
            )
            for name, told, words, output in (
                ("shape-100", "100 in, 300 out", 70, 300),
                ("shape-1k", "1,000 in, 1,000 out", 700, 1_000),
                ("shape-10k", "10,000 in, 1,500 out", 7_000, 1_500),
            )
        ),
    )
}


def scenario_named(name: str) -> Scenario:
    """The scenario. Raises ConfigError for a name that is none."""
    if name not in SCENARIOS:
        raise ConfigError(f"no scenario {name!r}: one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
