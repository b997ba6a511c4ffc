"""What front and engine say to each other: small frozen frames, token ids only, no live objects.

msgspec structs, so the same words travel as msgpack over a socket when the engine is a process of
its own. Times are seconds.
"""

import msgspec


class Submit(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Front to engine: complete this prompt."""

    id: str
    prompt: tuple[int, ...]  # token ids, at least one
    max_tokens: int  # output tokens, at least one; prompt and output fit the context
    stop_ids: tuple[int, ...]  # any of these ends the sequence, itself included in the output
    temperature: float
    top_k: int  # 0: all
    top_p: float
    min_p: float
    seed: int  # 0 .. 2^64 - 1
    frequency_penalty: float = 0.0  # see `adjustment`
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # token id, what to add; each id once
    min_tokens: int = 0  # output tokens before any of `stop_ids` may come; 0 .. max_tokens
    logprobs: int = -1  # alternatives wanted with each token's log-probability; -1: neither
    salt: str = ""  # prefixes are shared among equal salts only: one per tenant


class Cancel(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Front to engine: stop, and free everything. Unknown ids are ignored: it may have ended."""

    id: str


class Accepted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Engine to front: the sequence has a place in the queue."""

    id: str


class TokenLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """Natural log-probabilities at one output token; see `logprobs`."""

    chosen: float  # of the token that was drawn
    top: tuple[tuple[int, float], ...]  # the likeliest token ids with theirs, likeliest first


class Tokens(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Engine to front: output tokens, in order, and where the time went up to the last of them."""

    id: str
    token_ids: tuple[int, ...]
    cached_tokens: int  # of the prompt, found in the prefix cache
    finish: str | None  # a types.FinishReason value: the last word on a sequence that ended
    queue_s: float  # submitted -> first scheduled
    prompt_s: float  # first scheduled -> first output token
    completion_s: float  # first output token -> last of these
    logprobs: tuple[TokenLogprobs, ...] | None = None  # one per token, when asked for


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Engine to front: the last word on a sequence that could not be finished."""

    id: str
    error: str  # name of the class in headrace.errors
    message: str


ToEngine = Submit | Cancel
ToFront = Accepted | Tokens | Failed
