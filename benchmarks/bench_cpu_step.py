"""How long one native decode step takes, and what share of the read bandwidth it reaches.

    python benchmarks/bench_cpu_step.py [MODEL] [--threads 1 2] [--context 0 128 1000]

Batch 1, greedy, no HTTP and no engine: `CpuBackend.step` alone, called from Python. Each figure
is the best of many short bursts, because other processes can only slow a step down; the median
beside it says how quiet the machine was. The roofline is the bandwidth this machine reads with the
same threads from a working set of the same size, measured right after, over the bytes a step
must read. Prints a table, or one JSON object with --json.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.cpu import CpuBackend, barrier_seconds, physical_cores, read_bandwidth
from headrace.model import bundled_model, open_model

BURST_STEPS = 50
PREFILL_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One row of the table."""

    threads: int
    context_tokens: int
    steps_per_s: float  # best burst
    median_steps_per_s: float
    gb_per_s: float  # bytes a step must read, over the best step
    bandwidth_gb_per_s: float  # measured
    roofline_share: float
    barrier_ns: float


def decode_batch(position: int, num_blocks: int) -> Batch:
    """One greedy row at `position`, its blocks in order."""
    return batch(np.array([position]), num_blocks)


def batch(positions: np.ndarray, num_blocks: int) -> Batch:
    """Rows of one sequence; the last is sampled, greedily."""
    rows = len(positions)
    return Batch(
        token_ids=np.arange(rows, dtype=np.int32) % 97 + 3,
        positions=positions.astype(np.int32),
        row_sequence=np.zeros(rows, np.int32),
        block_tables=np.arange(num_blocks, dtype=np.int32)[None],
        sample_rows=np.array([rows - 1], np.int32),
        sampling=Sampling.greedy(1),
    )


def burst_seconds(backend: CpuBackend, rows: Batch, steps: int) -> float:
    """Seconds per step over one burst."""
    start = time.perf_counter()
    for _ in range(steps):
        backend.step(rows)
    return (time.perf_counter() - start) / steps


def measure(backend: CpuBackend, threads: int, context: int, bursts: int) -> Timing:
    """Time decode steps that attend to `context` earlier tokens."""
    rows = decode_batch(context, backend.num_blocks)
    burst_seconds(backend, rows, BURST_STEPS)  # warm up
    steps_s = [burst_seconds(backend, rows, BURST_STEPS) for _ in range(bursts)]
    step_bytes = backend.program.bytes_per_token(context)
    bandwidth = read_bandwidth(step_bytes, threads, 0.05)
    best = min(steps_s)
    return Timing(
        threads=threads,
        context_tokens=context,
        steps_per_s=1 / best,
        median_steps_per_s=1 / statistics.median(steps_s),
        gb_per_s=step_bytes / best / 1e9,
        bandwidth_gb_per_s=bandwidth / 1e9,
        roofline_share=step_bytes / best / bandwidth,
        barrier_ns=barrier_seconds(threads) * 1e9,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path, help="a model folder; the bundled one")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, physical_cores()])
    parser.add_argument("--context", type=int, nargs="+", default=[0, 128, 1000])
    parser.add_argument("--bursts", type=int, default=30)
    parser.add_argument("--isa", help="scalar, avx2 or avx512_bf16; the fastest here by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--realtime", action="store_true", help="no other process may interrupt (needs the right)"
    )
    asked = parser.parse_args()
    model = open_model(asked.model or bundled_model())
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    context = min(max(asked.context), model.program.max_positions - 1)
    num_blocks = max(context, PREFILL_TOKENS) // BLOCK_TOKENS + 1
    timings: list[Timing] = []
    prefill: dict[int, float] = {}
    device = ""
    for threads in dict.fromkeys(asked.threads):
        backend = CpuBackend(
            model.program, model.weights, num_blocks=num_blocks, threads=threads, isa=asked.isa
        )
        prompt = batch(np.arange(min(PREFILL_TOKENS, model.program.max_positions)), num_blocks)
        once = min(burst_seconds(backend, prompt, 1) for _ in range(4))
        prefill[threads] = len(prompt.positions) / once
        contexts = dict.fromkeys(min(tokens, context) for tokens in asked.context)
        timings += [measure(backend, threads, tokens, asked.bursts) for tokens in contexts]
        device = backend.report().device
        backend.close()
    if asked.json:
        rows = [asdict(timing) for timing in timings]
        print(json.dumps({"device": device, "prefill_tok_s": prefill, "decode": rows}))
        return
    print(f"{device}; prefill tok/s by threads: " + str({t: round(p) for t, p in prefill.items()}))
    print("threads context   steps/s (median)     GB/s  of measured   share  barrier ns")
    for t in timings:
        print(
            f"{t.threads:7} {t.context_tokens:7} {t.steps_per_s:9.0f} ({t.median_steps_per_s:6.0f})"
            f" {t.gb_per_s:8.1f} {t.bandwidth_gb_per_s:12.1f} {t.roofline_share:7.0%}"
            f" {t.barrier_ns:11.0f}"
        )


if __name__ == "__main__":
    main()
