"""How fast the engine itself is: prompt in, tokens out, no HTTP.

Protocol: random prompts from a fixed seed, greedy, stop tokens ignored, one short run first. Decode
speed is (output - 1) tokens over the time from the first output token to the last, prefill speed
the prompt's tokens over the time to the first. Medians over the runs.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.clock import Clock
from headrace.engine import Engine
from headrace.engine.messages import Failed, Submit, ToFront, Tokens
from headrace.errors import BackendError, InvalidRequest
from headrace.model.program import Program

WARM_UP_PROMPT = 128  # tokens of each prompt, at most: enough to touch caches, pages and threads
WARM_UP_OUTPUT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """What is decoded."""

    prompt_tokens: int
    output_tokens: int  # at least 2
    batch: int  # sequences side by side
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeResult:
    """Medians over the runs; speeds are over the whole batch."""

    decode_tok_s: float
    decode_tok_s_min: float
    decode_tok_s_max: float
    prefill_tok_s: float
    bytes_per_token: int  # one sequence's step at the mean context: weights once, cache
    step_bytes: int  # the whole batch's step: weights once, each sequence's cache
    read_rate_gb_s: float  # step_bytes over a step's time
    token_ids: tuple[int, ...]  # of the first sequence, to compare machines


def bench_decode(
    engine: Engine,
    program: Program,
    shape: DecodeShape,
    clock: Clock,
    *,
    on_run: Callable[[int], None] = lambda _: None,
) -> DecodeResult:
    """Run the protocol on an idle engine.

    Raises InvalidRequest when the shape does not fit the engine's context, BackendError when a
    step fails. `on_run` is called with the number of finished runs.
    """
    total = shape.prompt_tokens + shape.output_tokens
    if shape.output_tokens < 2 or shape.prompt_tokens < 1 or shape.batch < 1 or shape.runs < 1:
        raise InvalidRequest("a run needs a prompt token, two output tokens and one sequence")
    if total > engine.context_tokens:
        raise InvalidRequest(f"{total} tokens exceed the context of {engine.context_tokens}")
    prompts = np.random.default_rng(0).integers(
        0, program.vocab_size, (shape.batch, shape.prompt_tokens)
    )
    decode: list[float] = []
    prefill: list[float] = []
    token_ids: tuple[int, ...] = ()
    warm_up = _submits(0, prompts[:, :WARM_UP_PROMPT], min(WARM_UP_OUTPUT, shape.output_tokens))
    _run_once(engine, warm_up, clock)
    for run in range(1, shape.runs + 1):
        asked = _submits(run, prompts, shape.output_tokens)
        first_s, last_s, token_ids = _run_once(engine, asked, clock)
        prefill.append(prompts.size / first_s)
        decode.append(shape.batch * (shape.output_tokens - 1) / (last_s - first_s))
        on_run(run)
    mean_context = shape.prompt_tokens + shape.output_tokens // 2
    weight_bytes = program.bytes_per_token()
    cache_bytes = program.bytes_per_token(mean_context) - weight_bytes
    step_bytes = weight_bytes + shape.batch * cache_bytes
    steps_per_s = statistics.median(decode) / shape.batch
    return DecodeResult(
        decode_tok_s=statistics.median(decode),
        decode_tok_s_min=min(decode),
        decode_tok_s_max=max(decode),
        prefill_tok_s=statistics.median(prefill),
        bytes_per_token=weight_bytes + cache_bytes,
        step_bytes=step_bytes,
        read_rate_gb_s=steps_per_s * step_bytes / 1e9,
        token_ids=token_ids,
    )


def _run_once(
    engine: Engine, asked: list[Submit], clock: Clock
) -> tuple[float, float, tuple[int, ...]]:
    """Seconds until every sequence had its first token, and its last; tokens of the first one."""
    start_s = clock.now_s()
    messages: list[ToFront] = [m for submit in asked for m in engine.handle(submit)]
    waiting = {submit.id for submit in asked}
    first_s = 0.0
    while not engine.is_idle:
        step = engine.step()
        if waiting:
            waiting -= {m.id for m in step if isinstance(m, Tokens)}
            first_s = clock.now_s() - start_s
        messages += step
    last_s = clock.now_s() - start_s
    for message in messages:
        if isinstance(message, Failed):
            raise BackendError(message.message)
    tokens = (m.token_ids for m in messages if isinstance(m, Tokens) and m.id == asked[0].id)
    return first_s, last_s, tuple(token for ids in tokens for token in ids)


def _submits(run: int, prompts: NDArray[np.int64], output_tokens: int) -> list[Submit]:
    """A request for each of `prompts` [B, T]."""
    return [
        Submit(
            id=f"bench-{index}",
            prompt=tuple(prompt.tolist()),
            max_tokens=output_tokens,
            stop_ids=(),
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
            tenant=f"{run}/{index}",  # no run may find another's prompt in the prefix cache
        )
        for index, prompt in enumerate(prompts)
    ]
