"""One's own tasks: JSON lines with prompts and checkers, because one's own suite is the product.

Each line is an object with `prompt` (text) or `messages`, and what the answer must be: `exact` (the
text, spaces aside), `regex` (found in it) or `schema` (JSON that follows it, in the keywords of
`schema.py`); without one, any whole answer is right. `max_tokens` (256) bounds the answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.client import Answer
from headrace.bench.scenarios.registry import Scenario
from headrace.bench.scenarios.schema import check_schema, follows
from headrace.bench.scenarios.task import Call, Outcome, Task
from headrace.errors import ConfigError

_FENCE = "```"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    exact: str | None = None
    regex: str | None = None
    schema: dict[str, Any] | None = None
    max_tokens: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask:
    """A line of the file."""

    id: str
    scenario: str
    line: _Line

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """Its call, once."""
        if answers:
            return None
        asked = self.line.messages or [{"role": "user", "content": self.line.prompt}]
        return Call(messages=asked, max_tokens=self.line.max_tokens)

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """What the line asks for; JSON may stand in a fence of three backticks."""
        text, line = answers[-1].text, self.line
        if line.exact is not None and text.split() != line.exact.split():
            return Outcome.WRONG_ANSWER
        if line.regex is not None and not re.search(line.regex, text):
            return Outcome.WRONG_ANSWER
        if line.schema is not None:
            try:
                value = msgspec.json.decode(_without_fence(text))
            except msgspec.DecodeError:
                return Outcome.INVALID_JSON
            if not follows(value, line.schema):
                return Outcome.INVALID_SCHEMA
        return Outcome.PASSED


def dataset(path: Path) -> Scenario:
    """A scenario of the file's tasks, one at a time. Raises ConfigError, naming file and line."""
    try:
        raw = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"dataset {path}: {exc}") from exc
    lines = [_read(path, number, line) for number, line in enumerate(raw, 1) if line.strip()]
    if not lines:
        raise ConfigError(f"dataset {path}: holds no tasks")

    def make(_: int, number: int, __: int) -> Task:
        index = number % len(lines)
        return OwnTask(id=f"{path.stem}/{number}", scenario=path.stem, line=lines[index])

    return Scenario(
        name=path.stem,
        title=path.stem,
        tasks=len(lines),
        make=make,
        words=0,  # never cut
        max_tokens=max(line.max_tokens for line in lines),
    )


def _without_fence(text: str) -> str:
    """What stands between a first line of three backticks, perhaps with `json`, and the last."""
    first, _, rest = text.strip().partition("\n")
    if first.strip() in (_FENCE, _FENCE + "json") and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE)
    return text


def _read(path: Path, number: int, raw: bytes) -> _Line:
    where = f"dataset {path}, line {number}"
    try:
        line = msgspec.json.decode(raw, type=_Line)
        re.compile(line.regex or "")
    except (msgspec.DecodeError, re.error) as exc:
        raise ConfigError(f"{where}: {exc}") from exc
    if (line.prompt is None) == (not line.messages):
        raise ConfigError(f"{where}: needs prompt or messages, one of")
    if line.schema is not None:
        check_schema(line.schema, where=where)
    return line
