"""How fast the cpu backend decodes, and what share of the memory's bandwidth that is.

    python benchmarks/bench_decode.py [MODEL ...] [--threads 1 2] [--context 128 1000 8000]

One stream, greedy, no HTTP and no scheduler: `CpuBackend.step` alone, called from Python with as
many steps a call as the engine makes. Each figure is the median of many short bursts; the best
beside it says how quiet the machine was. The roofline is the bandwidth this machine reads with the
same threads from a working set of the same size, over the bytes a step must read. That and the
round trip of a cache line between the CPUs are measured before and after; where the CPUs of a
virtual machine moved apart meanwhile, the row says so. Prints a line per row, or one JSON object
with --json.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from machine import Around, commit, describe, probe, result_file

import headrace
from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.cpu import CpuBackend, barrier_seconds, physical_cores
from headrace.engine.stride import MAX_CALL_S, MAX_STEPS
from headrace.model import LanguageModel, bundled_model, open_model

HERE = Path(__file__).resolve().parent
BURST_S = 0.05
PREFILL_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One row of the table."""

    model: str
    device: str  # instruction set and threads
    threads: int
    context_tokens: int
    steps_per_call: int
    decode_tok_s: float  # median burst
    decode_tok_s_best: float
    prefill_tok_s: float
    bytes_per_token: int  # that a step must read
    roofline_share: float  # of the median, of the bandwidth measured around it
    barrier_ns: float
    around: Around
    regime: str | None


def one_sequence(positions: np.ndarray, num_blocks: int, steps: int = 1) -> Batch:
    """Rows of one sequence, its blocks in order; the last is sampled, greedily."""
    rows = len(positions)
    return Batch(
        token_ids=np.arange(rows, dtype=np.int32) % 97 + 3,
        positions=positions.astype(np.int32),
        row_sequence=np.zeros(rows, np.int32),
        block_tables=np.arange(num_blocks, dtype=np.int32)[None],
        sample_rows=np.array([rows - 1], np.int32),
        sampling=Sampling.greedy(1),
        steps=steps,
    )


def burst_seconds(backend: CpuBackend, batch: Batch, calls: int) -> float:
    """Seconds per call over one burst."""
    start = time.perf_counter()
    for _ in range(calls):
        backend.step(batch)
    return (time.perf_counter() - start) / calls


def step_seconds(backend: CpuBackend, context: int, seconds: float) -> tuple[int, list[float]]:
    """Steps a call, and seconds per step of each burst, after `context` earlier tokens."""
    position = np.array([context])
    single = one_sequence(position, backend.num_blocks)
    once_s = min(burst_seconds(backend, single, 2) for _ in range(3))  # warms up, too
    steps = max(1, min(MAX_STEPS, int(MAX_CALL_S / once_s)))
    batch = one_sequence(position, backend.num_blocks, steps)
    calls = math.ceil(BURST_S / (once_s * steps))
    bursts = max(3, int(seconds / (once_s * steps * calls)))
    return steps, [burst_seconds(backend, batch, calls) / steps for _ in range(bursts)]


def measure(
    model: LanguageModel, backend: CpuBackend, threads: int, contexts: list[int], seconds: float
) -> Iterator[Timing]:
    """Time decoding after each of `contexts` tokens, and prefill once."""
    prompt_tokens = min(PREFILL_TOKENS, model.program.max_positions)
    prompt = one_sequence(np.arange(prompt_tokens), backend.num_blocks)
    prefill_s = min(burst_seconds(backend, prompt, 1) for _ in range(2))
    for context in contexts:
        step_bytes = model.program.bytes_per_token(context)
        before = probe(step_bytes, threads)
        steps, took_s = step_seconds(backend, context, seconds)
        around = Around(before=before, after=probe(step_bytes, threads))
        rate = 1 / statistics.median(took_s)
        yield Timing(
            model=model.name,
            device=backend.report().device,
            threads=threads,
            context_tokens=context,
            steps_per_call=steps,
            decode_tok_s=rate,
            decode_tok_s_best=1 / min(took_s),
            prefill_tok_s=prompt_tokens / prefill_s,
            bytes_per_token=step_bytes,
            roofline_share=around.roofline_share(rate, step_bytes),
            barrier_ns=barrier_seconds(threads) * 1e9,
            around=around,
            regime=around.regime,
        )


def all_timings(asked: argparse.Namespace) -> Iterator[Timing]:
    """Every model with every number of threads after every context."""
    for folder in asked.models or [bundled_model()]:
        model = open_model(folder)
        longest = model.program.max_positions - MAX_STEPS
        contexts = list(dict.fromkeys(min(tokens, longest) for tokens in asked.context))
        num_blocks = max(*contexts, PREFILL_TOKENS) // BLOCK_TOKENS + 2
        for threads in dict.fromkeys(asked.threads):
            backend = CpuBackend(
                model.program, model.weights, num_blocks=num_blocks, threads=threads, isa=asked.isa
            )
            yield from measure(model, backend, threads, contexts, asked.seconds)
            backend.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="model folders; the bundled one")
    parser.add_argument("--threads", type=int, nargs="+", default=[physical_cores()])
    parser.add_argument("--context", type=int, nargs="+", default=[128, 1000])
    parser.add_argument("--seconds", type=float, default=2.0, help="of decoding for each row")
    parser.add_argument("--isa", help="one of `headrace doctor`'s; the fastest here by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="keep it in results/, too")
    parser.add_argument(
        "--realtime", action="store_true", help="no other process may interrupt (needs the right)"
    )
    asked = parser.parse_args()
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    timings: list[Timing] = []
    for t in all_timings(asked):
        timings.append(t)
        if asked.json:
            continue
        print(
            f"{t.model}, {t.threads} threads after {t.context_tokens} tokens: "
            f"{t.decode_tok_s:,.1f} tok/s (best {t.decode_tok_s_best:,.1f}), "
            f"{t.decode_tok_s * t.bytes_per_token / 1e9:.1f} GB/s = {t.roofline_share:.0%}; "
            f"barrier {t.barrier_ns:.0f} ns, {t.around}"
        )
    report = {
        "question": "decode of the cpu backend alone",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "versions": {"headrace": headrace.__version__, "commit": commit()},
        "rows": [asdict(timing) for timing in timings],
    }
    if asked.keep:
        result_file(HERE / "results", "decode").write_text(json.dumps(report, indent=1) + "\n")
    if asked.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
