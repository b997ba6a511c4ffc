"""How long a simulated decode step takes here, and how much memory.

    python benchmarks/bench_wafer.py [MODEL] [--mesh 64x64] [--steps 8] [--context 128]

One sequence, greedy, `WaferBackend.step` alone. It says how fast the simulation is, not the wafer.
Prints one JSON object.
"""

import argparse
import json
import resource
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from machine import commit, describe

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.wafer import WaferBackend
from headrace.model import bundled_model, open_model
from headrace.wafer.machine import machine_named


def one_sequence(start: int, token_ids: list[int], num_blocks: int) -> Batch:
    """Rows of one sequence from position `start` on, the last of them sampled greedily."""
    rows = len(token_ids)
    return Batch(
        token_ids=np.array(token_ids, np.int32),
        positions=np.arange(start, start + rows, dtype=np.int32),
        row_sequence=np.zeros(rows, np.int32),
        block_tables=np.arange(num_blocks, dtype=np.int32)[None],
        sample_rows=np.array([rows - 1], np.int32),
        sampling=Sampling.greedy(1),
    )


def main() -> None:
    """Load, read a random context, time the steps after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=bundled_model())
    parser.add_argument("--mesh", default="64x64")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--context", type=int, default=128)
    asked = parser.parse_args()
    opened = open_model(asked.model)
    num_blocks = -(-(asked.context + asked.steps) // BLOCK_TOKENS)
    backend = WaferBackend(
        opened.program,
        opened.weights,
        num_blocks=num_blocks,
        machine=machine_named(asked.mesh),
    )
    rng = np.random.default_rng(0)
    ids = rng.integers(0, opened.program.vocab_size, asked.context).tolist()
    begun = time.perf_counter()
    drawn = backend.step(one_sequence(0, ids, num_blocks)).token_ids.tolist()
    prefill_s = time.perf_counter() - begun
    steps_s: list[float] = []
    for step in range(asked.steps):
        begun = time.perf_counter()
        drawn = backend.step(one_sequence(asked.context + step, drawn, num_blocks)).token_ids
        drawn = drawn.tolist()
        steps_s.append(time.perf_counter() - begun)
    print(
        json.dumps(
            {
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": describe(),
                "commit": commit(),
                "model": opened.name,
                "mesh": asked.mesh,
                "context_tokens": asked.context,
                "prefill_s": prefill_s,
                "step_s": statistics.median(steps_s),
                "step_s_worst": max(steps_s),
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
