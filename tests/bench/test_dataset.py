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
