"""A log of requests: what was asked when, and what came of it. JSON lines, one request each.

    {"at_s": 12.5, "body": {"messages": [...], "max_tokens": 64}, "id": "42", "endpoint": "ours",
     "answer": {"text": "...", "ttft_s": 0.2, "e2e_s": 1.4, "output_tokens": 31, "finish": "stop"}}

`body` is a body of chat completions, the only field that must be there. `at_s` are seconds from any
origin. `answer` is what the log's endpoint said; with it, whoever is asked again is compared to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.client import Answer, Piece, ToolCall
from headrace.bench.scenarios.schema import check_schema, follows
from headrace.bench.scenarios.task import PLAIN, Call, Extensions, Outcome
from headrace.errors import ConfigError

REPLAY = "replay"  # what the scenario is called in reports


class LoggedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of a request. Times in seconds from the request on."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    fault: str = ""
    ttft_s: float | None = None
    e2e_s: float | None = None  # to the last visible content
    first_tokens: float = 1.0  # that came at `ttft_s`
    output_tokens: float = 0.0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None

    @classmethod
    def of(cls, answer: Answer) -> "LoggedAnswer":
        """What a log keeps of an answer."""
        pieces, start_s = answer.pieces, answer.start_s
        first = [piece.tokens for piece in pieces if piece.at_s == pieces[0].at_s]
        return cls(
            text=answer.text,
            reasoning=answer.reasoning,
            calls=answer.calls,
            finish=answer.finish,
            fault=answer.fault,
            ttft_s=pieces[0].at_s - start_s if pieces else None,
            e2e_s=pieces[-1].at_s - start_s if pieces else None,
            first_tokens=sum(first),
            output_tokens=answer.output_tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
        )

    def at(self, start_s: float) -> Answer:
        """The answer to a request of `start_s`: its first and its last moment."""
        first_s, last_s = self.ttft_s, self.e2e_s
        pieces: list[Piece] = []
        if first_s is not None:
            is_answer = not self.reasoning
            pieces = [Piece(at_s=start_s + first_s, text="", tokens=self.first_tokens,
                            is_answer=is_answer)]  # fmt: skip
        if first_s is not None and last_s is not None and last_s > first_s:
            rest = self.output_tokens - self.first_tokens
            pieces.append(Piece(at_s=start_s + last_s, text=self.text, tokens=rest, is_answer=True))
        return Answer(
            start_s=start_s,
            sent_s=start_s,
            ended_s=start_s + (last_s or first_s or 0.0),
            status=0 if self.fault else 200,
            fault=self.fault,
            pieces=tuple(pieces),
            text=self.text,
            reasoning=self.reasoning,
            calls=self.calls,
            finish=self.finish,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            has_usage=self.prompt_tokens is not None,
            counts="log",
        )


class LoggedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of the log."""

    body: dict[str, Any]
    at_s: float | None = None
    id: str = ""
    endpoint: str = ""  # whose answer it is
    answer: LoggedAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall(Call):
    """A call whose body is the log's, but for the model, and streamed with usage."""

    logged: Mapping[str, Any]

    def body(self, model: str, seed: int, extensions: Extensions = PLAIN) -> bytes:
        """The JSON that is sent: the log has its own seed and its own lengths, or none."""
        streamed = {"stream": True, "stream_options": extensions.stream_options()}
        return msgspec.json.encode({**self.logged, "model": model, **streamed})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTask:
    """A request of the log, asked again."""

    id: str
    request: LoggedRequest
    scenario: str = REPLAY

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """Its call, once."""
        body = self.request.body
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        call = LoggedCall(messages=body["messages"], max_tokens=most, logged=body)
        return None if answers else call

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """Whether the answer has the form that the request asked for; nobody knows what is true."""
        return _form(self.request.body, answers[-1])


@dataclass(frozen=True, slots=True)
class Log:
    """The requests of one endpoint, in the order of their times."""

    requests: tuple[LoggedRequest, ...]

    def __call__(self, index: int) -> LoggedTask:
        """The task of request `index`."""
        request = self.requests[index]
        return LoggedTask(id=f"{REPLAY}/{index}", request=request)

    def times_s(self, speed: float) -> list[float]:
        """When each leaves, from 0 on, `speed` times as fast. Raises ConfigError without times."""
        times = [request.at_s for request in self.requests if request.at_s is not None]
        if len(times) < len(self.requests):
            raise ConfigError("the log has requests without at_s: replay it --one-by-one")
        return [(at_s - times[0]) / speed for at_s in times]

    @property
    def words(self) -> int:
        """Words of all prompts."""
        return sum(call.words for call in self._calls())

    @property
    def max_tokens(self) -> int:
        """Of all answers together, as far as requests bound them."""
        return sum(call.max_tokens for call in self._calls())

    def _calls(self) -> Iterator[Call]:
        for index in range(len(self.requests)):
            if (call := self(index).next_call(())) is not None:
                yield call


def logged(body: bytes, answer: Answer, *, endpoint: str, task: str) -> bytes:
    """A line of a log, of what was sent and what came of it."""
    line: dict[str, Any] = {
        "at_s": answer.start_s,
        "id": task,
        "endpoint": endpoint,
        "body": msgspec.Raw(body),
        "answer": LoggedAnswer.of(answer),
    }
    return msgspec.json.encode(line)


def read_log(path: Path, endpoint: str | None = None) -> Log:
    """The requests of `endpoint` (None: there is but one). Raises ConfigError, naming the line."""
    try:
        raw = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"log {path}: {exc}") from exc
    found = [_read(path, number, line) for number, line in enumerate(raw, 1) if line.strip()]
    names = sorted({request.endpoint for request in found})
    if endpoint is None and len(names) > 1:
        raise ConfigError(f"log {path}: --of one of {', '.join(names)}")
    chosen = [request for request in found if endpoint in (None, request.endpoint)]
    if not chosen:
        raise ConfigError(f"log {path}: holds no requests{f' of {endpoint}' if endpoint else ''}")
    return Log(tuple(sorted(chosen, key=lambda request: request.at_s or 0.0)))


def _read(path: Path, number: int, raw: bytes) -> LoggedRequest:
    where = f"log {path}, line {number}"
    try:
        request = msgspec.json.decode(raw, type=LoggedRequest)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
    messages: Any = request.body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):  # pyright: ignore[reportUnknownVariableType]
        raise ConfigError(f"{where}: its body has no messages")
    if request.body.get("n") not in (None, 1):
        raise ConfigError(f"{where}: n must be 1, one answer a request is measured")
    return request


def _form(body: Mapping[str, Any], answer: Answer) -> Outcome:
    """Tools by name and schema, JSON where JSON was asked for."""
    parameters: dict[str, Any] = {}
    for tool in body.get("tools") or ():
        function: Any = tool.get("function") or {}
        parameters[function.get("name")] = function.get("parameters") or {}
    for call in answer.calls:
        if call.name not in parameters:
            return Outcome.WRONG_TOOL
        if (outcome := _json(call.arguments, parameters[call.name])) is not Outcome.PASSED:
            return outcome
    wanted: dict[str, Any] = body.get("response_format") or {}
    if answer.calls or wanted.get("type") not in ("json_object", "json_schema"):
        return Outcome.PASSED
    named: dict[str, Any] = wanted.get("json_schema") or {}
    return _json(answer.text, named.get("schema") or {})


def _json(text: str, schema: Mapping[str, Any]) -> Outcome:
    """Whether `text` is JSON that follows a schema, as far as we can judge its keywords."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return Outcome.INVALID_JSON
    try:
        check_schema(schema, where="log")
    except ConfigError:
        return Outcome.PASSED
    return Outcome.PASSED if follows(value, schema) else Outcome.INVALID_SCHEMA
