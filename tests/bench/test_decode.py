"""The decode benchmark counts what it says it counts: on a clock that only the backend moves."""

import pytest

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.bench.decode import WARM_UP_PROMPT, DecodeShape, bench_decode
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.errors import InvalidRequest
from tests.tiny_llama import tiny_program


class Metronome(NullBackend):
    """Each step takes one second per row read, and 0.25 s for a step of single tokens."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(tiny_program(), num_blocks=64)
        self.clock = clock

    def step(self, batch: Batch) -> StepResult:
        rows, sequences = len(batch.token_ids), len(batch.block_tables)
        self.clock.advance(0.25 if rows == sequences else float(rows))
        return super().step(batch)


def run(shape: DecodeShape) -> tuple[float, float, float, int, tuple[int, ...]]:
    clock = ManualClock()
    backend = Metronome(clock)
    engine = Engine(backend, clock, max_sequences=8, max_step_tokens=64, max_waiting=8)
    result = bench_decode(engine, backend.program, shape, clock)
    return (
        result.decode_tok_s,
        result.prefill_tok_s,
        result.read_rate_gb_s,
        result.bytes_per_token,
        result.token_ids,
    )


def test_speeds_are_tokens_over_the_time_they_took() -> None:
    decode, prefill, read_rate, bytes_per_token, tokens = run(
        DecodeShape(prompt_tokens=10, output_tokens=9, batch=1, runs=3)
    )
    assert decode == pytest.approx(4.0)  # the first token belongs to the prompt
    assert prefill == pytest.approx(1.0)
    assert read_rate == pytest.approx(4.0 * bytes_per_token / 1e9)
    assert len(tokens) == 9


def test_a_batch_counts_all_its_tokens_but_reads_the_weights_once() -> None:
    alone = run(DecodeShape(prompt_tokens=10, output_tokens=9, batch=1, runs=1))
    both = run(DecodeShape(prompt_tokens=10, output_tokens=9, batch=2, runs=1))
    assert both[0] == pytest.approx(2 * alone[0])
    assert both[2] < 2 * alone[2]


def test_a_long_prompt_is_read_once_a_run() -> None:
    clock = ManualClock()
    backend = Metronome(clock)
    engine = Engine(backend, clock, max_sequences=8, max_step_tokens=64, max_waiting=8)
    shape = DecodeShape(prompt_tokens=200, output_tokens=2, batch=1, runs=1)
    bench_decode(engine, backend.program, shape, clock)
    assert clock.now_s() == pytest.approx(WARM_UP_PROMPT + 200 + 2 * 0.25)


@pytest.mark.parametrize(
    "shape",
    [
        DecodeShape(prompt_tokens=1, output_tokens=1, batch=1, runs=1),
        DecodeShape(prompt_tokens=250, output_tokens=7, batch=1, runs=1),
    ],
)
def test_a_shape_that_cannot_run_is_refused(shape: DecodeShape) -> None:
    with pytest.raises(InvalidRequest):
        run(shape)
