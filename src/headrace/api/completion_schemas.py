"""The body of POST /v1/completions, and how it becomes requests: one for each prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import Field, PlainValidator

from headrace.api.fields import IGNORED, Check, screen_level
from headrace.api.sampling_fields import SamplingFields
from headrace.api.schemas import Count, Rules, StopStrings, StreamOptions, StreamUsage, read_wire
from headrace.api.terms import ServiceTier
from headrace.api.wire import Integer
from headrace.types import Prompt, Request

MAX_CHOICES = 128  # of one call: prompts, times answers to each
MAX_ECHOED_LOGPROBS = 5  # alternatives, as many as OpenAI gives; a prompt may fill the context
MAX_TOKEN_ID = (1 << 31) - 1  # which of them a model has is the provider's to check

_KINDS = "must be a text, an array of token ids, or an array of either"

# Hints and features as `fields` has them, as far as they make sense without messages.
COMPLETION_IGNORED: Mapping[str, Check] = {
    name: IGNORED[name]
    for name in (
        "store",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "repetition_penalty",
    )
}
COMPLETION_NOT_OFFERED: Mapping[str, Check] = {
    "suffix": lambda value: value == "",
    "grammar_root": lambda value: value == "",
    "reasoning_format": lambda value: value in ("none", ""),
}


def token_ids(value: object) -> tuple[int, ...]:
    """An array of token ids, at least one. Raises ValueError."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be an array of token ids, at least one")
    ids = cast("list[object]", value)
    if set(map(type, ids)) != {int}:
        ids = [int(i) if isinstance(i, float) and i.is_integer() else i for i in ids]
    whole = [i for i in ids if isinstance(i, int) and not isinstance(i, bool)]
    if len(whole) < len(ids) or not 0 <= min(whole) <= max(whole) <= MAX_TOKEN_ID:
        raise ValueError(f"token ids must be integers from 0 to {MAX_TOKEN_ID}")
    return tuple(whole)


def _prompts(value: object) -> tuple[Prompt, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(_KINDS if value != [] else "must not be empty")
    given = cast("list[object]", value)
    if isinstance(given[0], int | float):
        return (token_ids(given),)
    if len(given) > MAX_CHOICES:
        raise ValueError(f"has {len(given)} prompts, at most {MAX_CHOICES} are allowed")
    return tuple(_prompt(number, each) for number, each in enumerate(given))


def _prompt(number: int, value: object) -> Prompt:
    if isinstance(value, str):
        if not value:
            raise ValueError(f"prompt {number} must not be empty")
        return value
    if not isinstance(value, list):
        raise ValueError(_KINDS)
    return token_ids(cast("list[object]", value))


Text = Annotated[str, Field(min_length=1)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
_Many = Annotated[list[Text] | list[TokenIds], Field(min_length=1, max_length=MAX_CHOICES)]
Prompts = Annotated[
    tuple[Prompt, ...], PlainValidator(_prompts, json_schema_input_type=Text | TokenIds | _Many)
]


class CompletionRequest(SamplingFields):
    """The body of POST /v1/completions, after `fields.screen_level`."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    prompt: Prompts
    max_tokens: Count | None = None
    min_tokens: Count | None = None
    ignore_eos: bool = False
    n: Annotated[Integer, Field(ge=1, le=8)] = 1
    best_of: Annotated[Integer, Field(ge=0, le=8)] = 0
    echo: bool = False
    logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None
    return_raw_tokens: bool = False
    stop: StopStrings = Field(default_factory=list[str])
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    service_tier: ServiceTier | None = None

    @property
    def longest(self) -> int | None:
        """The most output tokens; None: no bound."""
        return None if self.max_tokens == -1 else self.max_tokens

    @property
    def shortest(self) -> int | None:
        """The output tokens before the model may end; None: it may never."""
        return None if self.min_tokens == -1 or self.ignore_eos else self.min_tokens or 0

    @property
    def tried(self) -> int:
        """Answers to make for each prompt; the best `n` of them are given."""
        return self.best_of or self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionCall:
    """One call, understood; as `schemas.ChatCall`."""

    requests: tuple[Request, ...]  # one for each prompt
    n: int  # answers to give to each
    raw_tokens: bool
    logprobs: int | None
    stream: bool
    stream_usage: StreamUsage
    stream_interval_s: float
    service_tier: ServiceTier | None
    ignored: tuple[str, ...]
    of_thought: tuple[str, ...] = ()  # a text is gone on with, not thought about


def completion_call(document: dict[str, Any], request_id: str) -> CompletionCall:
    """Check and convert the body of a completions request.

    Raises InvalidRequest with one line for each offence.
    """
    screened = screen_level(document, COMPLETION_IGNORED, COMPLETION_NOT_OFFERED)
    wire = read_wire(CompletionRequest, screened, _RULES)
    options = wire.stream_options or StreamOptions()
    if options.include_obfuscation is not None:
        screened.ignored.append("stream_options.include_obfuscation")
    return CompletionCall(
        requests=tuple(_request(wire, request_id, number) for number in range(len(wire.prompt))),
        n=wire.n,
        raw_tokens=wire.return_raw_tokens,
        logprobs=wire.logprobs,
        stream=wire.stream,
        stream_usage=options.usage,
        stream_interval_s=options.interval_s,
        service_tier=wire.service_tier,
        ignored=tuple(screened.ignored),
    )


_RULES: Rules[CompletionRequest] = (
    (
        lambda wire: wire.max_tokens != 0 or wire.echo,
        "max_tokens: must be at least 1, or -1 for no bound; 0 is for echo",
    ),
    (
        lambda wire: wire.longest is None or (wire.shortest or 0) <= wire.longest,
        "min_tokens: must not be greater than max_tokens",
    ),
    (
        lambda wire: wire.tried >= wire.n,
        "best_of: must not be smaller than n",
    ),
    (
        lambda wire: not wire.stream or wire.tried == wire.n,
        "best_of: the best are known at the end only, so it must equal n when stream is true",
    ),
    (
        lambda wire: not wire.echo or (wire.logprobs or 0) <= MAX_ECHOED_LOGPROBS,
        f"logprobs: must not exceed {MAX_ECHOED_LOGPROBS} with echo, there may be many tokens",
    ),
    (
        lambda wire: len(wire.prompt) * wire.tried <= MAX_CHOICES,
        f"prompt: prompts times n (or best_of) must not exceed {MAX_CHOICES}",
    ),
)


def _request(wire: CompletionRequest, request_id: str, number: int) -> Request:
    logprobs = wire.logprobs
    if wire.tried > wire.n and logprobs is None:
        logprobs = 0  # to find the best by
    return Request(
        id=request_id if len(wire.prompt) == 1 else f"{request_id}/{number}",
        model=wire.model,
        prompt=wire.prompt[number],
        echo=wire.echo,
        sampling=wire.sampling_params(),
        max_tokens=wire.longest,
        min_tokens=wire.shortest,
        n=wire.tried,
        logprobs=logprobs,
        stop=tuple(wire.stop),
    )
