"""What arrives on the wire, and the one place where it becomes a `types.Request`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field, ValidationError

from headrace.api.fields import Screened, screen
from headrace.api.format_fields import (
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    format_of,
    format_offences,
)
from headrace.api.sampling_fields import SamplingFields
from headrace.api.terms import ServiceTier
from headrace.api.tool_fields import (
    MAX_TOOLS,
    ToolChoice,
    WireTool,
    tool_offences,
    toolbox_of,
)
from headrace.api.wire import Integer, Wire, printable
from headrace.errors import InvalidRequest
from headrace.types import Message, Reasoning, ReasoningFormat, Request, Role, ToolCall

MAX_OFFENCES = 20  # lines of one error message
MAX_INTERVAL_MS = 1_000  # between two writes of a stream

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


class CalledFunction(Wire):
    """What an earlier answer called; its arguments need not be valid JSON."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    arguments: str


class WireCall(Wire):
    """A call in an earlier answer."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Integer | None = None


class AssistantMessage(Wire):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Content | None = None
    reasoning: Content | None = None
    reasoning_content: Content | None = None  # the same, as others call it
    tool_calls: list[WireCall] | None = None


class ToolMessage(Wire):
    """What a tool answered."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)]


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class StreamUsage(Enum):
    """Where the chunks of a stream say what was used."""

    LAST = "on the last chunk"
    APART = "on a chunk of its own after it"
    EVERY = "on every chunk as well"
    NOWHERE = "on none"


class StreamOptions(Wire):
    """How a stream is written, and how it ends."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None  # with `include_usage`, as vLLM has it
    include_obfuscation: bool | None = None  # ignored
    interval_ms: Annotated[Integer, Field(ge=0, le=MAX_INTERVAL_MS)] = 0  # between two writes

    @property
    def interval_s(self) -> float:
        """The least time between two writes, seconds."""
        return self.interval_ms / 1e3

    @property
    def usage(self) -> StreamUsage:
        """What the caller asked for."""
        if self.include_usage is None:
            return StreamUsage.LAST
        if not self.include_usage:
            return StreamUsage.NOWHERE
        return StreamUsage.EVERY if self.continuous_usage_stats else StreamUsage.APART


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
    tools: Annotated[list[WireTool], Field(max_length=MAX_TOOLS)] = Field(
        default_factory=list[WireTool]
    )
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: (
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"] | None
    ) = None
    reasoning_format: Literal["none", "parsed", "text_parsed", "raw", "hidden"] | None = None
    include_reasoning: bool | None = None  # false: as reasoning_format hidden
    disable_reasoning: bool | None = None
    clear_thinking: bool | None = None
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
    stream_usage: StreamUsage
    stream_interval_s: float
    service_tier: ServiceTier | None  # the caller's own word
    ignored: tuple[str, ...]
    of_thought: tuple[str, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        """The one there is."""
        return (self.request,)


def chat_call(document: dict[str, Any], request_id: str) -> ChatCall:
    """Check and convert the body of a chat request.

    Raises InvalidRequest with one line for each offence.
    """
    screened = screen(document)
    wire = read_wire(ChatCompletionRequest, screened, _RULES, _offences)
    options = wire.stream_options or StreamOptions()
    if options.include_obfuscation is not None:
        screened.ignored.append("stream_options.include_obfuscation")
    return ChatCall(
        request=_request(wire, request_id),
        stream=wire.stream,
        stream_usage=options.usage,
        stream_interval_s=options.interval_s,
        service_tier=wire.service_tier,
        ignored=tuple(screened.ignored),
        of_thought=() if wire.reasoning_effort in _NO_EFFORT else ("reasoning_effort",),
    )


def read_wire(
    kind: type[W],
    screened: Screened,
    rules: Rules[W],
    more: Callable[[W], Sequence[str]] = lambda _: (),
) -> W:
    """The wire object in a screened document. Raises InvalidRequest with a line for each offence.

    Rules across fields, and `more` offences, are looked for once each field is right.
    """
    offences = screened.offences
    try:
        wire = kind.model_validate(screened.fields)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        lines = [_offence(error["loc"], error["type"], error["msg"]) for error in found]
        offences += dict.fromkeys(lines)
        raise _refusal(offences) from exc
    offences += [said for rule, said in rules if not rule(wire)]
    offences += more(wire)
    if offences:
        raise _refusal(offences)
    return wire


def _offences(wire: ChatCompletionRequest) -> list[str]:
    """What is wrong with tools, format, and the order of messages."""
    return [
        *tool_offences(wire.tools, wire.tool_choice),
        *format_offences(wire.response_format),
        *_order_offences(wire.messages),
    ]


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
    (
        lambda wire: (
            wire.include_reasoning is None or wire.reasoning_format in (None, "none", "hidden")
        ),
        "include_reasoning: says the same as reasoning_format, send one of them",
    ),
    (
        lambda wire: (
            wire.reasoning_format != "raw"
            or not isinstance(wire.response_format, JsonObjectFormat | JsonSchemaFormat)
        ),
        "reasoning_format: 'raw' puts thoughts into what response_format holds to JSON",
    ),
)

_NO_EFFORT = (None, "none", "default")  # what a model that does not think makes anyway

_ROLES = {"developer": Role.SYSTEM}


def _either(newer: int | None, older: int | None) -> int | None:
    """A field of two names."""
    return older if newer is None else newer


def _agree(one: int | None, other: int | None) -> bool:
    return None in (one, other) or one == other


def messages_of(said: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """A dialogue as the rest of the program knows it."""
    return tuple(map(_message, said))


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
        toolbox=toolbox_of(wire.tools, wire.tool_choice, parallel=wire.parallel_tool_calls),
        format=format_of(wire.response_format),
        reasoning=_reasoning(wire),
    )


def _message(said: ChatMessage) -> Message:
    if isinstance(said, AssistantMessage):
        calls = tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in said.tool_calls or ()
        )
        return Message(
            role=Role.ASSISTANT,
            content=said.content or "",
            reasoning=said.reasoning or said.reasoning_content or "",
            tool_calls=calls,
        )
    return Message(
        role=_ROLES.get(said.role) or Role(said.role),
        content=said.content,
        tool_call_id=said.tool_call_id if isinstance(said, ToolMessage) else "",
    )


_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high", "default": None}


def _reasoning(wire: ChatCompletionRequest) -> Reasoning:
    effort = "none" if wire.disable_reasoning else wire.reasoning_effort
    form = wire.reasoning_format
    if form in (None, "none") and wire.include_reasoning is False:
        form = "hidden"
    return Reasoning(
        effort=_EFFORTS.get(effort, effort) if effort else None,
        format=ReasoningFormat.PARSED if form in (None, "none") else ReasoningFormat(form),
        keeps_history=not wire.clear_thinking,
    )


def _order_offences(messages: list[ChatMessage]) -> list[str]:
    """After calls come their tools' answers, each once, before anything else."""
    found: list[str] = []
    open_ids: dict[str, None] = {}  # in order, found at once: there may be thousands
    for number, said in enumerate(messages):
        if isinstance(said, ToolMessage):
            if said.tool_call_id in open_ids:
                del open_ids[said.tool_call_id]
            else:
                shown = printable(said.tool_call_id)
                found.append(
                    f"messages.{number}.tool_call_id: '{shown}' answers no open call before it"
                )
            continue
        if open_ids:
            found.append(f"messages.{number}: {_unanswered(open_ids)}")
            open_ids = {}
        if not isinstance(said, AssistantMessage):
            continue
        if said.content is None and not said.tool_calls:
            found.append(f"messages.{number}.assistant: needs content or tool_calls")
        open_ids = {call.id: None for call in said.tool_calls or ()}
        if len(open_ids) < len(said.tool_calls or ()):
            found.append(f"messages.{number}.assistant.tool_calls: an id is there twice")
    if open_ids:
        found.append(f"messages.{len(messages)}: {_unanswered(open_ids)}")
    return found


def _unanswered(ids: Mapping[str, None]) -> str:
    shown = ", ".join(map(printable, islice(ids, MAX_OFFENCES)))
    more = f" and {len(ids) - MAX_OFFENCES} more" if len(ids) > MAX_OFFENCES else ""
    return f"tool messages are missing for {shown}{more}"


def _offence(place: tuple[int | str, ...], kind: str, message: str) -> str:
    if place[0] == "response_format":
        place = (place[0], *place[2:])  # which of its forms was taken is no step of the path
    if place[0] == "tool_choice":
        return "tool_choice: must be 'none', 'auto', 'required' or a function by its name"
    path = printable(".".join(str(step) for step in place))
    if kind == "extra_forbidden":
        return f"{path}: property '{path}' is unsupported"
    if kind == "missing":
        return f"{path}: this field is required"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        if path == "response_format":
            kinds = "text, json_object, json_schema, regex, grammar"
            return f"{path}.type: must be one of {kinds}"
        return f"{path}.role: must be one of system, developer, user, assistant, tool"
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
