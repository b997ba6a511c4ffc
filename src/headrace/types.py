"""The shared vocabulary: what a caller asked for, and what comes back, whoever makes it.

Wire objects live in `api.schemas`; frames between front and engine live in `engine.messages`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"  # the model ended its turn, or a stop string matched
    LENGTH = "length"  # max_tokens or the context was reached


class Dtype(StrEnum):
    """What a checkpoint's matrices are multiplied as."""

    STORED = "stored"  # bf16 or fp16, bit for bit; fp32 is refused
    BF16 = "bf16"  # fp16 and fp32 rounded to it, which loses


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a dialogue, as text."""

    role: Role
    content: str


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
    echo: bool = False  # each choice begins with the prompt's text
    sampling: SamplingParams
    max_tokens: int | None = None  # output tokens; None: the model's default, else all that fit
    min_tokens: int | None = 0  # before the model may end its turn; None: it may never
    n: int = 1  # answers, from one reading of the prompt
    logprobs: int | None = None  # 0..20 alternatives beside each token's own; None: neither
    stop: tuple[str, ...] = ()  # the text ends before the first of these
    tenant: str = ""  # who asks: cached prefixes are shared within a tenant only
    terms: Terms = Terms()


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
    logprob: float
    top: tuple["TokenLogprob", ...] = ()  # the likeliest in its place, likeliest first
    start: int = field(default=0, compare=False)  # character of the choice's text it begins at


class TokenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one choice. The local engine and every provider emit only this.

    The one type here that is made for every token: as a frozen dataclass it takes 2 us more.
    """

    text: str  # may be empty while a character or a stop string is incomplete
    parts: tuple[str, ...] = ()  # of several tokens: `text`, cut where each of them ends
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens whose text begins to be here
    choice: int = 0
    finish: FinishReason | None = None  # set exactly once, on the last event of a choice
    usage: Usage | None = None  # of all choices, with the last `finish`; at first, the prompt's
    timing: Timing | None = None  # with the last `finish`
