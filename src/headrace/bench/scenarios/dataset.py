"""One's own tasks: JSON lines with prompts and checkers, because one's own suite is the product.

Each line is an object with `prompt` (text) or `messages`, and what the answer must be: `exact` (the
text, spaces aside), `regex` (found in it), `schema` (JSON that follows it, in the keywords of
`schema.py`) or `check`, a function of one's own: `module:function`, the module a file beside the
dataset. It gets the answer's text and the line, as a mapping, and says whether it is right; what it
needs to know may stand in the line's `data`. It runs here, in this process, with our rights: a
dataset with functions is a program. Without any of these, each whole answer is right. `max_tokens`
(256) bounds the answer.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.client import Answer
from headrace.bench.scenarios.registry import Scenario
from headrace.bench.scenarios.schema import check_schema, follows
from headrace.bench.scenarios.task import Call, Outcome, Task
from headrace.errors import ConfigError

_FENCE = "```"
Check = Callable[[str, Mapping[str, Any]], object]  # (text, line) -> is it right?


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    exact: str | None = None
    regex: str | None = None
    schema: dict[str, Any] | None = None
    check: str | None = None
    data: Any = None  # for `check`
    max_tokens: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask:
    """A line of the file."""

    id: str
    scenario: str
    line: _Line
    own_check: Check | None = field(default=None, repr=False)

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
        return Outcome.PASSED if self.own_check is None else self._own(self.own_check, text)

    def _own(self, check: Check, text: str) -> Outcome:
        try:
            is_right = check(text, msgspec.to_builtins(self.line))
        except Exception:  # noqa: BLE001 (it is not ours, and the run goes on)
            return Outcome.FAILED_CHECK
        return Outcome.PASSED if is_right else Outcome.WRONG_ANSWER


def dataset(path: Path) -> Scenario:
    """A scenario of the file's tasks, one at a time. Raises ConfigError, naming file and line."""
    try:
        raw = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"dataset {path}: {exc}") from exc
    lines = [_read(path, number, line) for number, line in enumerate(raw, 1) if line.strip()]
    if not lines:
        raise ConfigError(f"dataset {path}: holds no tasks")

    named = dict.fromkeys(line.check for line in lines if line.check)
    checks = {name: _function(path, name) for name in named}

    def make(_: int, number: int, __: int) -> Task:
        index = number % len(lines)
        line = lines[index]
        return OwnTask(
            id=f"{path.stem}/{number}",
            scenario=path.stem,
            line=line,
            own_check=checks[line.check] if line.check else None,
        )

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


def _function(path: Path, name: str) -> Check:
    """The function `module:function` of a file beside the dataset. Raises ConfigError."""
    module_name, _, function = name.partition(":")
    file = path.parent / f"{module_name}.py"
    where = f"dataset {path}: check {name!r}"
    if not module_name.isidentifier() or not function.isidentifier():
        raise ConfigError(f"{where}: say module:function, the module a file beside the dataset")
    spec = importlib.util.spec_from_file_location(f"headrace_checks_{module_name}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"{where}: there is no {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        raise ConfigError(f"{where}: {file} cannot be loaded: {exc}") from exc
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"{where}: {file} has no function {function}")
    return found


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
