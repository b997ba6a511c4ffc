"""What arrives on the wire, and the one place where it becomes a `types.Request`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field, ValidationError

from headrace.api.fields import Screened, screen
from headrace.api.sampling_fields import SamplingFields
from headrace.api.terms import ServiceTier
from headrace.api.wire import Integer, Wire, printable
from headrace.errors import InvalidRequest
from headrace.types import Message, Request, Role

MAX_OFFENCES = 20  # lines of one error message

W = TypeVar("W", bound=Wire)
Rules = Sequence[tuple[Callable[[W], bool], str]]  # what must hold, and what to say if not


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _joined(value: object) -> object:
    """Content as text: a string, or text parts joined without a separator."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string or an array of text parts")
    return "".join(_part(n, part) for n, part in enumerate(cast("list[object]", value)))


def _part(number: int, part: object) -> str:
    fields = cast("dict[str, object]", part) if isinstance(part, dict) else {}
    text = fields.get("text")
    if fields.get("type") != "text" or not isinstance(text, str):
        raise ValueError(f"part {number} must be a text part; other kinds are not offered yet")
    if any(value is not None for name, value in fields.items() if name not in ("type", "text")):
        raise ValueError(f"part {number} has properties other than 'type' and 'text'")
    return text


Content = Annotated[
    str, BeforeValidator(_joined, json_schema_input_type=str | list[dict[str, str]])
]
Count = Annotated[Integer, Field(ge=-1)]  # of tokens; -1: no bound
StopString = Annotated[str, Field(min_length=1, max_length=256)]
StopStrings = Annotated[
    list[StopString],
    BeforeValidator(
        _one_or_many,
        json_schema_input_type=StopString | Annotated[list[StopString], Field(max_length=4)],
    ),
    Field(max_length=4),
]


class SystemMessage(Wire):
    """Instructions; `developer` is the newer word for the same."""

    role: Literal["system", "developer"]
    content: Content


class UserMessage(Wire):
    """A turn of the user."""

    role: Literal["user"]
    content: Content


class AssistantMessage(Wire):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Content


ChatMessage = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Wire):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # ignored


class ChatCompletionRequest(SamplingFields):
    """The body of POST /v1/chat/completions, after `fields.screen`."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    min_tokens: Count | None = None
    min_completion_tokens: Count | None = None
    ignore_eos: bool = False
    logprobs: bool = False
    top_logprobs: Annotated[Integer, Field(ge=0, le=20)] = 0
    stop: StopStrings = Field(default_factory=list[str])
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[Integer, Field(ge=1, le=8)] = 1
    user: Annotated[str, Field(max_length=512)] | None = None
    service_tier: ServiceTier | None = None

    @property
    def longest(self) -> int | None:
        """The most output tokens; None: no bound."""
        bound = _either(self.max_completion_tokens, self.max_tokens)
        return None if bound == -1 else bound

    @property
    def shortest(self) -> int | None:
        """The output tokens before the model may end its turn; None: it may never."""
        bound = _either(self.min_completion_tokens, self.min_tokens)
        return None if bound == -1 or self.ignore_eos else bound or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One call, understood: the request, and how the caller wants the answer sent."""

    request: Request
    stream: bool
    include_usage: bool | None  # None: the caller did not say
    service_tier: ServiceTier | None  # the caller's own word
    ignored: tuple[str, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        """The one there is."""
        return (self.request,)


def chat_call(document: dict[str, Any], request_id: str) -> ChatCall:
    """Check and convert the body of a chat request.

    Raises InvalidRequest with one line for each offence.
    """
    screened = screen(document)
    wire = read_wire(ChatCompletionRequest, screened, _RULES)
    options = wire.stream_options or StreamOptions()
    if options.include_obfuscation is not None:
        screened.ignored.append("stream_options.include_obfuscation")
    return ChatCall(
        request=_request(wire, request_id),
        stream=wire.stream,
        include_usage=options.include_usage if wire.stream else None,
        service_tier=wire.service_tier,
        ignored=tuple(screened.ignored),
    )


def read_wire(kind: type[W], screened: Screened, rules: Rules[W]) -> W:
    """The wire object in a screened document. Raises InvalidRequest with a line for each offence.

    Rules across fields are looked at once each field is right.
    """
    offences = screened.offences
    try:
        wire = kind.model_validate(screened.fields)
    except ValidationError as exc:
        offences += [
            _offence(error["loc"], error["type"], error["msg"])
            for error in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise _refusal(offences) from exc
    offences += [said for rule, said in rules if not rule(wire)]
    if offences:
        raise _refusal(offences)
    return wire


_RULES: Rules[ChatCompletionRequest] = (
    (
        lambda wire: 0 not in (wire.max_tokens, wire.max_completion_tokens),
        "max_completion_tokens: must be at least 1, or -1 for no bound",
    ),
    (
        lambda wire: _agree(wire.max_tokens, wire.max_completion_tokens),
        "max_tokens: differs from max_completion_tokens, send one of them",
    ),
    (
        lambda wire: _agree(wire.min_tokens, wire.min_completion_tokens),
        "min_tokens: differs from min_completion_tokens, send one of them",
    ),
    (
        lambda wire: wire.longest is None or (wire.shortest or 0) <= wire.longest,
        "min_tokens: must not be greater than max_completion_tokens",
    ),
    (
        lambda wire: wire.logprobs or wire.top_logprobs == 0,
        "top_logprobs: needs logprobs to be true",
    ),
)

_ROLES = {"developer": Role.SYSTEM}


def _either(newer: int | None, older: int | None) -> int | None:
    """A field of two names."""
    return older if newer is None else newer


def _agree(one: int | None, other: int | None) -> bool:
    return None in (one, other) or one == other


def messages_of(said: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """A dialogue as the rest of the program knows it."""
    return tuple(
        Message(role=_ROLES.get(each.role) or Role(each.role), content=each.content)
        for each in said
    )


def _request(wire: ChatCompletionRequest, request_id: str) -> Request:
    return Request(
        id=request_id,
        model=wire.model,
        messages=messages_of(wire.messages),
        sampling=wire.sampling_params(),
        max_tokens=wire.longest,
        min_tokens=wire.shortest,
        n=wire.n,
        logprobs=wire.top_logprobs if wire.logprobs else None,
        stop=tuple(wire.stop),
    )


def _offence(place: tuple[int | str, ...], kind: str, message: str) -> str:
    path = printable(".".join(str(step) for step in place))
    if kind == "extra_forbidden":
        return f"{path}: property '{path}' is unsupported"
    if kind == "missing":
        return f"{path}: this field is required"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}.role: must be one of system, developer, user, assistant"
    if kind == "too_short":
        return f"{path}: must not be empty"
    message = message.removeprefix("Value error, ")
    return f"{path}: {message.replace('Input should be', 'must be').replace('Input', 'it')}"


def _refusal(offences: list[str]) -> InvalidRequest:
    """One line each; `param` is the field when there is one offence only."""
    param = offences[0].partition(":")[0] if len(offences) == 1 else None
    shown = offences[:MAX_OFFENCES]
    if len(offences) > MAX_OFFENCES:
        shown.append(f"… and {len(offences) - MAX_OFFENCES} more")
    return InvalidRequest("\n".join(shown), param=param)
