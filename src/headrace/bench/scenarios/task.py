"""A task: the calls it takes and how one tells that it was done. Tasks send nothing themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from headrace.bench.client import Answer

Message = Mapping[str, Any]  # as on the wire


class Outcome(StrEnum):
    """How a task ended. Four are the error rates of structured output."""

    PASSED = "passed"
    FAILED_CALL = "failed call"  # HTTP, a cut stream, an error event, no reason to finish
    WRONG_ANSWER = "wrong answer"
    INVALID_JSON = "invalid JSON"
    INVALID_SCHEMA = "invalid schema"
    WRONG_TOOL = "wrong tool"
    WRONG_ARGUMENTS = "wrong arguments"
    FAILED_CHECK = "failed check"  # one's own checker raised an exception


STRUCTURED = (
    Outcome.INVALID_JSON,
    Outcome.INVALID_SCHEMA,
    Outcome.WRONG_TOOL,
    Outcome.WRONG_ARGUMENTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """Fields beyond OpenAI's that an endpoint takes (vLLM's and SGLang's names); others refuse."""

    ignore_eos: bool = False  # answers as long as `max_tokens`
    event_usage: bool = False  # `continuous_usage_stats`: usage in every event

    def stream_options(self) -> Mapping[str, bool]:
        """Usage at the end, and in each event where that can be had."""
        more = {"continuous_usage_stats": True} if self.event_usage else {}
        return {"include_usage": True} | more


PLAIN = Extensions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to a model."""

    messages: Sequence[Message]
    max_tokens: int
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | None = None
    response_format: Mapping[str, Any] | None = None
    is_full_length: bool = False  # `max_tokens` are wanted, whatever the model says

    def body(self, model: str, seed: int, extensions: Extensions = PLAIN) -> bytes:
        """The JSON that is sent: streamed, at temperature 0, with usage."""
        fields: dict[str, Any] = {
            "model": model,
            "messages": self.messages,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": seed,
            "stream": True,
            "stream_options": extensions.stream_options(),
        }
        if self.tools:
            fields["tools"] = self.tools
            fields["tool_choice"] = self.tool_choice or "auto"
        if self.response_format is not None:
            fields["response_format"] = self.response_format
        if self.is_full_length and extensions.ignore_eos:
            fields["ignore_eos"] = True
        return msgspec.json.encode(fields)

    @property
    def words(self) -> int:
        """Words of the prompt."""
        return sum(len(str(message.get("content") or "").split()) for message in self.messages)


class Task(Protocol):
    """Something to be done in one call or several."""

    @property
    def id(self) -> str:
        """The same on every endpoint: pairs are made by it."""
        ...

    @property
    def scenario(self) -> str:
        """Whose task it is."""
        ...

    def next_call(self, answers: Sequence[Answer]) -> Call | None:
        """What to ask after `answers` (none of them faulty); None when that was all."""
        ...

    def check(self, answers: Sequence[Answer]) -> Outcome:
        """Whether the task was done; the calls themselves went well."""
        ...
