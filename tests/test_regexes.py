"""Every regular expression of the source takes time in proportion to its text.

Judged by steps of a backtracking matcher on near-matches: a beginning that the pattern likes, then
many of the same, then something it does not. Doubling the many at most doubles the steps.
"""

import ast
import re
from itertools import pairwise, product
from pathlib import Path

import pytest

import headrace
from headrace.model.control_tokens import ControlToken, ControlTokens
from tests.regex_steps import PUMPED, StepCounter, TooManySteps, samples
from tests.tiny_folder import CONTROL

PACKAGE = Path(headrace.__file__).parent
USES = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
SHORT, LONG = 300, 600  # longer than what our patterns bound
LINEAR = 2.2  # times the steps for twice the text
PUMPS = [*PUMPED, *map("".join, pairwise(PUMPED))]
# Files that put patterns together. Four have tests of their own below; the patterns in schemas,
# which are callers', are compiled and never matched; those of somebody's own tasks and their
# schemas are matched in his own process.
MADE = {
    "model/control_tokens.py",
    "accounts/keys.py",
    "api/json_schema.py",
    "bench/scenarios/dataset.py",
    "bench/scenarios/dialogue.py",
    "bench/scenarios/schema.py",
    "bench/scenarios/short.py",
}


def calls_of_re(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """The function of `re` that is called, and its pattern."""
    return [
        (node.func.attr, node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in (*USES, "compile")
    ]


def literal_patterns() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for file in sorted(PACKAGE.rglob("*.py")):
        place = str(file.relative_to(PACKAGE))
        for _, pattern in calls_of_re(ast.parse(file.read_text())):
            if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str):
                found.append((place, pattern.value))
            else:
                assert place in MADE, f"{place} makes a pattern: judge it here"
    return found


def searches(place: str, pattern: str) -> bool:
    """Whether the file looks for the pattern anywhere, not only at a beginning."""
    names: set[str] = set()
    tree = ast.parse((PACKAGE / place).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            arguments = node.value.args
            if arguments and ast.unparse(arguments[0]) == repr(pattern):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in names
    }
    direct = {how for how, given in calls_of_re(tree) if ast.unparse(given) == repr(pattern)}
    how = (used | direct) & set(USES)
    assert how, f"{place}: nobody uses {pattern}"
    return bool(how - {"match", "fullmatch"})


def slowest(pattern: str, *, searches: bool) -> tuple[float, str]:
    """How many times the steps of a near-match grow when it doubles, at worst; and that text."""
    counter = StepCounter(pattern, budget=200_000)
    worst = 0.0, ""
    for lead, pump, end in product(dict.fromkeys(samples(counter.items)), PUMPS, ("", "\x01")):
        try:
            short = counter.steps(lead + pump * SHORT + end, searches=searches)
            long = counter.steps(lead + pump * LONG + end, searches=searches)
        except TooManySteps:
            return float("inf"), lead + pump
        worst = max(worst, (long / short, lead + pump))
        if worst[0] > LINEAR:
            break
    return worst


@pytest.mark.guards("D58")
@pytest.mark.parametrize(("place", "pattern"), literal_patterns())
def test_a_pattern_takes_steps_in_proportion_to_its_text(place: str, pattern: str) -> None:
    growth, text = slowest(pattern, searches=searches(place, pattern))
    assert growth <= LINEAR, text


@pytest.mark.guards("D58")
def test_patterns_of_control_tokens_are_linear() -> None:
    names = (*CONTROL, "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>")
    control = ControlTokens({s: ControlToken(id=i, spelling=s) for i, s in enumerate(names)})
    for made in (control._spellings, control._starts):
        growth, text = slowest(made.pattern, searches=True)
        assert growth <= LINEAR, text


@pytest.mark.guards("D58")
def test_patterns_of_keys_are_linear() -> None:
    from headrace.accounts import keys

    assert slowest(keys._FORM.pattern, searches=False)[0] <= LINEAR


def test_patterns_of_the_benchmark_are_linear() -> None:
    from headrace.bench.scenarios.dialogue import dialogue
    from headrace.bench.scenarios.short import question, summary
    from headrace.bench.scenarios.words import words

    asked = [question("q", 1, number) for number in range(len(words().questions))]
    patterns = {pattern for task in asked for pattern in task.patterns}
    patterns |= {*summary("s", 1, 0, 400).patterns}
    patterns |= {rf"\b{re.escape(fact)}\b" for fact in dialogue("d", 1, 0).facts}
    for pattern in patterns:
        growth, text = slowest(pattern, searches=True)
        assert growth <= LINEAR, (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "searches", "is_linear"),
    [
        (r"a+b", False, True),
        (r"\s*x", True, False),  # each place of a run of blanks scans what is left of it
        (r"\s*(a)?\s*$", False, False),
        (r"(a|a)*b", False, False),
        (r"(a+)+b", False, False),
        (r"(?:a|0)*b", False, True),
        (r"<[^<>]+>", True, True),
        (r"[a-z]{1,8}=(?=\{)", False, True),
    ],
)
def test_the_judge_knows_slow_patterns(pattern: str, searches: bool, is_linear: bool) -> None:
    assert re.compile(pattern)
    assert (slowest(pattern, searches=searches)[0] <= LINEAR) is is_linear
