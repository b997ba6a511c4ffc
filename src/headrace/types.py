"""The shared vocabulary: what a caller asked for, and what comes back, whoever makes it.

Wire objects live in `api.schemas`; frames between front and engine live in `engine.messages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgspec


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"  # what a tool answered


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"  # the model ended its turn, or a stop string matched
    LENGTH = "length"  # max_tokens or the context was reached
    TOOL_CALLS = "tool_calls"  # the model ended its turn by calling tools


class Dtype(StrEnum):
    """What a checkpoint's matrices are multiplied as."""

    STORED = "stored"  # bf16 or fp16, bit for bit; fp32 is refused
    BF16 = "bf16"  # fp16 and fp32 rounded to it, which loses


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool, as an assistant's message has it."""

    id: str
    name: str
    arguments: str  # what the model wrote: JSON, unless a client made it up


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a dialogue, as text."""

    role: Role
    content: str
    reasoning: str = ""  # of an assistant: what it thought before it answered
    tool_calls: tuple[ToolCall, ...] = ()  # of an assistant
    tool_call_id: str = ""  # of a tool: the call that this answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # a JSON schema of an object
    strict: bool  # the schema was checked: arguments follow every keyword of it


class ToolUse(StrEnum):
    """Whether tools are called."""

    NONE = "none"  # not at all, though the prompt may list them
    AUTO = "auto"  # as the model likes
    REQUIRED = "required"  # at least once, without other text


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools of a request, and how they may be used."""

    tools: tuple[Tool, ...]
    use: ToolUse = ToolUse.AUTO
    only: str = ""  # with REQUIRED: the one tool to call
    parallel: bool = True  # several calls in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFormat:
    """The answer is JSON that follows a schema."""

    schema: Mapping[str, Any]
    strict: bool  # every keyword was checked; else those that are not known are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexFormat:
    """The answer is text that a regular expression matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LarkFormat:
    """The answer is text that a grammar in llguidance's Lark dialect derives."""

    grammar: str


Format = JsonFormat | RegexFormat | LarkFormat


class ReasoningFormat(StrEnum):
    """Where what a model thinks goes."""

    PARSED = "parsed"  # a field of its own, log-probabilities too
    TEXT_PARSED = "text_parsed"  # a field of its own, log-probabilities with the answer's
    RAW = "raw"  # before the answer, with the model's own marks
    HIDDEN = "hidden"  # nowhere; counted all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """How the model is to think; models that do not think ignore it."""

    effort: str | None = None  # none, low, medium or high; None: as the model is used to
    format: ReasoningFormat = ReasoningFormat.PARSED
    keeps_history: bool = True  # whether the template sees what was thought in earlier turns


Prompt = str | tuple[int, ...]  # a text, not empty, or its token ids, at least one


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is drawn: penalties and bias, temperature, top-k, top-p, min-p, draw.

    None leaves a choice to the checkpoint's own `generation_config.json`.
    """

    temperature: float | None = None  # 0..2; 0 is greedy, ties go to the lowest token id
    top_k: int | None = None  # >= 0; 0: all tokens
    top_p: float | None = None  # (0, 1]; smallest set whose probability reaches this
    min_p: float | None = None  # 0..1; drop tokens below this share of the most likely one
    seed: int | None = None  # any 64-bit integer; None: drawn anew for each request
    frequency_penalty: float = 0.0  # -2..2; off a token's logit for each time it was drawn
    presence_penalty: float = 0.0  # -2..2; off the logit of a token that was drawn at all
    logit_bias: tuple[tuple[int, float], ...] = ()  # token id, -100..100 to add; each id once


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a request shares the machine with others. Times are seconds."""

    weight: float = 1.0  # the tenant's part of the service, relative to other tenants'
    group: str = ""  # of tenants that share a reserved part of the service
    reserved: float = 0.0  # that part, of 1
    kept: float = 0.0  # what other groups have reserved
    priority: int = 0  # higher goes first
    timeout_s: float | None = None  # until it must be over, its wait included; None: never
    max_queue_s: float | None = None  # not to be taken while others wait longer than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asked for in one call. Converted from the wire once, in `api.schemas`."""

    id: str  # unique while any part of an answer may still be on its way
    model: str
    messages: tuple[Message, ...] = ()
    prompt: Prompt | None = None  # in place of messages: no template is put around it
    echo: bool = False  # each choice begins with the prompt, with its log-probabilities if any
    sampling: SamplingParams
    max_tokens: int | None = None  # output tokens; None: the model's default, else all that fit
    min_tokens: int | None = 0  # before the model may end its turn; None: it may never
    n: int = 1  # answers, from one reading of the prompt
    logprobs: int | None = None  # 0..20 alternatives beside each token's own; None: neither
    stop: tuple[str, ...] = ()  # the text ends before the first of these
    toolbox: Toolbox | None = None
    format: Format | None = None  # of the answer's text; None: free
    reasoning: Reasoning = Reasoning()
    tenant: str = ""  # who asks: cached prefixes are shared within a tenant only
    terms: Terms = Terms()
    prompt_ids: Sequence[int] | None = None  # the prompt as the model reads it, once it was made
    context_tokens: int | None = None  # prompt and answer together at most; None: the model's own


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeRequest:
    """A prompt whose tokens somebody wants to see."""

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None  # in place of messages
    add_special_tokens: bool = True  # around a text: those the checkpoint puts there
    add_generation_prompt: bool = True  # behind messages: the beginning of the answer
    spellings: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens used by one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0  # of the completion

    def __add__(self, other: "Usage") -> "Usage":
        """Of both together."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the time of one request went, in seconds; they add up to `total_s`."""

    queue_s: float  # accepted -> first scheduled
    prompt_s: float  # first scheduled -> first token known
    completion_s: float  # first token known -> last token known

    def until(self, total_s: float) -> "Timing":
        """The same up to the first token, with others of a call that lasted `total_s`."""
        return replace(self, completion_s=total_s - self.queue_s - self.prompt_s)

    @property
    def total_s(self) -> float:
        """Accepted to last token known."""
        return self.queue_s + self.prompt_s + self.completion_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token and its natural log-probability, as the model gave it.

    That is before penalties, bias and temperature.
    """

    token: str  # its text, U+FFFD where it is part of a character; or a control token's spelling
    data: bytes | None  # what it writes; None: nothing
    logprob: float | None  # None: nothing came before it, as before a prompt's first token
    top: tuple["TokenLogprob", ...] = ()  # the likeliest in its place, likeliest first
    start: int = field(default=0, compare=False)  # character of the choice's text it begins at


class CallPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call. Its first one has id and name, the arguments may come in many."""

    index: int  # of the call in its choice, from 0
    id: str = ""
    name: str = ""
    arguments: str = ""  # joined: JSON text


class TokenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one choice. The local engine and every provider emit only this.

    The one type here that is made for every token: as a frozen dataclass it takes 2 us more.
    """

    text: str  # may be empty while a character or a stop string is incomplete
    parts: tuple[str, ...] = ()  # of several tokens: `text`, cut where each of them ends
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens whose text begins to be here
    reasoning: str = ""  # what the model thought, apart from `text`
    reasoning_logprobs: tuple[TokenLogprob, ...] = ()  # of tokens of a thought, likewise
    calls: tuple[CallPiece, ...] = ()
    choice: int = 0
    is_prompt: bool = False  # text and log-probabilities are the prompt's, echoed
    finish: FinishReason | None = None  # set exactly once, on the last event of a choice
    usage: Usage | None = None  # of all choices, with the last `finish`; at first, the prompt's
    timing: Timing | None = None  # with the last `finish`
