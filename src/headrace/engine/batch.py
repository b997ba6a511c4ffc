"""From a plan to the arrays a backend takes."""

from collections.abc import Sequence as Seq

import numpy as np

from headrace.backends.base import Batch, Sampling
from headrace.engine.scheduler import Chunk


def build_batch(plan: Seq[Chunk]) -> Batch:
    """The batch of one step: the chunks' rows in order, each sampled at its last known token."""
    token_ids: list[int] = []
    positions: list[int] = []
    row_sequence: list[int] = []
    sample_rows: list[int] = []
    sampled = [chunk.sequence.asked for chunk in plan if chunk.is_sampled]
    width = max(len(chunk.sequence.blocks) for chunk in plan)
    tables = np.zeros((len(plan), width), np.int32)
    for s, chunk in enumerate(plan):
        sequence, start = chunk.sequence, chunk.sequence.computed
        end = start + chunk.count
        token_ids += sequence.tokens[start:end]
        positions += range(start, end)
        row_sequence += [s] * chunk.count
        tables[s, : len(sequence.blocks)] = sequence.blocks
        if chunk.is_sampled:
            sample_rows.append(len(token_ids) - 1)
    return Batch(
        token_ids=np.array(token_ids, np.int32),
        positions=np.array(positions, np.int32),
        row_sequence=np.array(row_sequence, np.int32),
        block_tables=tables,
        sample_rows=np.array(sample_rows, np.int32),
        sampling=Sampling(
            temperature=np.array([asked.temperature for asked in sampled], np.float32),
            top_k=np.array([asked.top_k for asked in sampled], np.int32),
            top_p=np.array([asked.top_p for asked in sampled], np.float32),
            min_p=np.array([asked.min_p for asked in sampled], np.float32),
            seed=np.array([asked.seed for asked in sampled], np.uint64),
        ),
    )
