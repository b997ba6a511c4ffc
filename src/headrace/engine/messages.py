"""What front and engine say to each other: small frozen messages, token ids only, no live objects.

msgspec structs: they travel as msgpack, positional, over the socket between the two processes
(`engine.wire`). Times are seconds.
"""

import msgspec

import headrace.errors as errors
from headrace.config import EngineConfig, LogConfig


class Start(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Front to engine, first and once: load this model."""

    model: str  # the checkpoint folder
    config: EngineConfig
    log: LogConfig
    home: str = ""  # the folder of what is kept between starts; "": nothing is


class Submit(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
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
    after: str = ""  # id of a sequence with the same prompt: wait until it has read it, or ended
    logprobs: int = -1  # alternatives wanted with each token's log-probability; -1: neither
    scores_prompt: bool = False  # with `logprobs`: those of the prompt's tokens, too
    tenant: str = ""  # who pays: prefixes are shared within a tenant, service among tenants
    weight: float = 1.0  # the tenant's part of the service, relative to others' (> 0)
    group: str = ""  # of tenants that share a reserved part of the service
    reserved: float = 0.0  # that part, of 1
    kept: float = 0.0  # of the waiting places, those that other groups have reserved
    priority: int = 0  # higher goes first
    deadline_s: float | None = None  # from now until it must be over, queue included; None: never
    max_queue_s: float | None = None  # refuse it while others wait longer than this; None: never
    is_watched: bool = False  # how long the phases of its steps take is told with its last tokens
    grammar: str = ""  # what the output is held to, as llguidance serialises it; "": nothing


class Cancel(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Front to engine: stop, and free everything. Unknown ids are ignored: it may have ended."""

    id: str


class Loading(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: how far loading has come."""

    done: int  # bytes
    total: int


class Started(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: the model is loaded, sequences may come."""

    backend: str
    context_tokens: int  # longest prompt and output together


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: the model cannot be loaded; the process ends."""

    error: str  # name of the class in headrace.errors
    message: str


class Stats(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front, now and then while it works: its counters since it started."""

    running: int = 0  # sequences that hold blocks
    waiting: int = 0
    free_blocks: int = 0  # nobody holds them; some may be found again by their content
    total_blocks: int = 0
    preempted: int = 0
    steps: int = 0
    prompt_tokens: int = 0  # read, not found in the cache
    cached_tokens: int = 0  # found in the cache
    output_tokens: int = 0
    restarts: int = 0  # of the engine's process, counted by the front


class Accepted(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: the sequence has a place in the queue."""

    id: str


class TokenLogprobs(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Natural log-probabilities at one token; see `logprobs`."""

    chosen: float  # of the token that is there
    top: tuple[tuple[int, float], ...]  # the likeliest token ids with theirs, likeliest first


class PromptLogprobs(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: those of the next tokens of a prompt, from its second one on.

    They come as the prompt is read, all of them before its first output token.
    """

    id: str
    logprobs: tuple[TokenLogprobs, ...]


class Tokens(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: output tokens, in order, and where the time went up to the last of them."""

    id: str
    token_ids: tuple[int, ...]
    cached_tokens: int  # of the prompt, found in the prefix cache
    finish: str | None  # a types.FinishReason value: the last word on a sequence that ended
    queue_s: float  # submitted -> first scheduled
    prompt_s: float  # first scheduled -> first output token
    completion_s: float  # first output token -> last of these
    logprobs: tuple[TokenLogprobs, ...] | None = None  # one per token, when asked for
    # With `finish`, if it was watched: kinds of phases and their seconds of a token, in the mean.
    phases: tuple[tuple[str, float], ...] = ()


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Engine to front: the last word on a sequence that could not be finished."""

    id: str
    error: str  # name of the class in headrace.errors
    message: str
    retry_after_s: int = 0  # when to try again; 0: the error's own default
    param: str = ""  # the field of the request it is about; "": the error's own default


ToEngine = Submit | Cancel
FromSequence = Accepted | PromptLogprobs | Tokens  # one that has not failed
ToFront = FromSequence | Failed  # of one sequence
FromEngine = ToFront | Loading | Started | Refused | Stats


def failure(request_id: str, exc: Exception) -> Failed:
    """What the front hears of an error. Those that are not ours keep their details to the log."""
    if not isinstance(exc, errors.HeadraceError):
        return Failed(
            id=request_id,
            error="EngineError",
            message="the engine failed on this request; the server's log has the details",
        )
    return Failed(
        id=request_id,
        error=type(exc).__name__,
        message=str(exc),
        retry_after_s=exc.retry_after_s if isinstance(exc, errors.CapacityError) else 0,
        param=exc.param,
    )


def error_of(said: Failed | Refused) -> errors.HeadraceError:
    """The exception that the engine's words stand for."""
    error = _BY_NAME.get(said.error, errors.EngineError)(said.message)
    if isinstance(said, Failed):
        error.param = said.param or error.param
        if isinstance(error, errors.CapacityError) and said.retry_after_s:
            error.retry_after_s = said.retry_after_s
    return error


_OF_A_MESSAGE = (errors.HeadraceError.__init__, errors.CapacityError.__init__)


def _plain(kind: type[errors.HeadraceError]) -> dict[str, type[errors.HeadraceError]]:
    """`kind` and its descendants by name, those that can be made of a message alone."""
    found = {kind.__name__: kind} if kind.__init__ in _OF_A_MESSAGE else {}
    for child in kind.__subclasses__():
        found |= _plain(child)
    return found


_BY_NAME = _plain(errors.HeadraceError)
