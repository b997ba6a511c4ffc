"""One's own tasks: what a line asks is what is checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.bench.scenarios import Outcome
from headrace.bench.scenarios.dataset import dataset
from headrace.errors import ConfigError
from tests.bench.virtual import answered


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("rule", "text", "outcome"),
    [
        ({"exact": "two words"}, " two\n words ", Outcome.PASSED),
        ({"exact": "two words"}, "two words.", Outcome.WRONG_ANSWER),
        ({"regex": r"\b42\b"}, "It is 42.", Outcome.PASSED),
        ({"regex": r"\b42\b"}, "It is 421.", Outcome.WRONG_ANSWER),
        ({"schema": SCHEMA}, '{"n": 3}', Outcome.PASSED),
        ({"schema": SCHEMA}, '```json\n{"n": 3}\n```', Outcome.PASSED),
        ({"schema": SCHEMA}, '{"n": 3', Outcome.INVALID_JSON),
        ({"schema": SCHEMA}, '{"n": "3"}', Outcome.INVALID_SCHEMA),
        ({"schema": SCHEMA, "regex": "4"}, '{"n": 3}', Outcome.WRONG_ANSWER),
        ({}, "anything", Outcome.PASSED),
    ],
)
def test_each_rule_is_checked(
    rule: dict[str, Any], text: str, outcome: Outcome, tmp_path: Path
) -> None:
    scenario = dataset(written(tmp_path, {"prompt": "how many?", **rule}))
    task = scenario.make(0, 0, 0)
    call = task.next_call(())
    assert call is not None
    assert call.messages == [{"role": "user", "content": "how many?"}]
    assert task.next_call([answered(text)]) is None
    assert task.check([answered(text)]) is outcome


def test_all_lines_are_asked_under_the_files_name(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "brief"}, {"role": "user", "content": "b"}]
    lines = [{"prompt": "a", "max_tokens": 9}, "", {"messages": messages, "max_tokens": 7}]
    scenario = dataset(written(tmp_path, *lines))
    assert (scenario.name, scenario.tasks, scenario.max_tokens) == ("mine", 2, 9)
    calls = [scenario.make(0, number, 0).next_call(()) for number in range(2)]
    assert [call.max_tokens for call in calls if call] == [9, 7]
    assert calls[1] is not None
    assert calls[1].messages == messages
    assert scenario.make(0, 1, 0).id == "mine/1"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1"),
        ({"exact": "a"}, "needs prompt or messages"),
        ({"prompt": "a", "messages": [{}]}, "needs prompt or messages"),
        ({"prompt": "a", "regexp": "b"}, "regexp"),
        ({"prompt": "a", "regex": "("}, "line 1"),
        ({"prompt": "a", "schema": {"oneOf": []}}, "oneOf"),
    ],
)
def test_a_wrong_line_is_named(line: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        dataset(written(tmp_path, line))


def test_an_empty_or_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no tasks"):
        dataset(written(tmp_path))
    with pytest.raises(ConfigError, match="dataset"):
        dataset(tmp_path / "none.jsonl")


CHECKS = """
def holds(text, line):
    return line["data"]["word"] in text and line["prompt"] == "say it"

def breaks(text, line):
    return 1 / 0

NUMBER = 3
"""


@pytest.mark.parametrize(
    ("rule", "text", "outcome"),
    [
        ({"check": "mine_checks:holds"}, "the ship", Outcome.PASSED),
        ({"check": "mine_checks:holds"}, "the sea", Outcome.WRONG_ANSWER),
        ({"check": "mine_checks:holds", "exact": "the ship"}, "the ships", Outcome.WRONG_ANSWER),
        ({"check": "mine_checks:breaks"}, "the ship", Outcome.FAILED_CHECK),
    ],
)
def test_a_function_of_ones_own_judges(
    rule: dict[str, Any], text: str, outcome: Outcome, tmp_path: Path
) -> None:
    (tmp_path / "mine_checks.py").write_text(CHECKS)
    line = {"prompt": "say it", "data": {"word": "ship"}, **rule}
    task = dataset(written(tmp_path, line)).make(0, 0, 0)
    assert task.check([answered(text)]) is outcome


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("mine_checks", "say module:function"),
        ("../mine_checks:holds", "say module:function"),
        ("os.path:exists", "say module:function"),
        ("nothing:holds", "there is no .*nothing.py"),
        ("mine_checks:misses", "no function misses"),
        ("mine_checks:NUMBER", "no function NUMBER"),
        ("broken:holds", "broken.py cannot be loaded"),
    ],
)
def test_a_function_that_is_not_there_is_one_sentence(
    check: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "mine_checks.py").write_text(CHECKS)
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    with pytest.raises(ConfigError, match=told):
        dataset(written(tmp_path, {"prompt": "a", "check": check}))
