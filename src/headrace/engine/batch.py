"""From a plan to the arrays a backend takes."""

from collections.abc import Sequence as Seq
from dataclasses import replace

import numpy as np

from headrace.backends.base import Batch, Sampling
from headrace.engine.masks import Masks
from headrace.engine.scheduler import Chunk
from headrace.engine.sequence import Sequence


class Batches:
    """Makes the batches of one engine; remembers how rows are drawn while the same ones go on."""

    def __init__(self) -> None:
        self._sampled: list[Sequence] = []
        self._plain = Sampling.greedy(0)  # of those, without what is added to their logits

    def build(self, plan: Seq[Chunk], steps: int = 1, masks: Masks | None = None) -> Batch:
        """One call: the chunks' rows in order, each sampled at its last known token.

        `masks`: of the sequences that are sampled and have a grammar.
        """
        sampled = [chunk.sequence for chunk in plan if chunk.is_sampled]
        if sampled != self._sampled:
            self._sampled, self._plain = sampled, _sampling(sampled)
        sampling = _adjusted(self._plain, sampled)
        if masks is not None:
            sampling = masks.applied(sampling, sampled)
        return _batch(plan, sampled, sampling, steps)


def _batch(plan: Seq[Chunk], sampled: Seq[Sequence], sampling: Sampling, steps: int) -> Batch:
    token_ids: list[int] = []
    positions: list[int] = []
    row_sequence: list[int] = []
    sample_rows: list[int] = []
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
        sampling=sampling,
        want_logits=any(sequence.asked.logprobs >= 0 for sequence in sampled),
        steps=steps,
    )


def _sampling(sampled: Seq[Sequence]) -> Sampling:
    asked = [sequence.asked for sequence in sampled]
    return Sampling(
        temperature=np.array([each.temperature for each in asked], np.float32),
        top_k=np.array([each.top_k for each in asked], np.int32),
        top_p=np.array([each.top_p for each in asked], np.float32),
        min_p=np.array([each.min_p for each in asked], np.float32),
        seed=np.array([each.seed for each in asked], np.uint64),
    )


def _adjusted(plain: Sampling, sampled: Seq[Sequence]) -> Sampling:
    """`plain` with what is added to the logits."""
    adjustments = [sequence.adjustment for sequence in sampled]
    present = [adjustment for adjustment in adjustments if adjustment is not None]
    if not present:
        return plain
    sizes = [0 if adjustment is None else len(adjustment.ids) for adjustment in adjustments]
    return replace(
        plain,
        bias_offsets=np.cumsum([0, *sizes], dtype=np.int32),
        bias_ids=np.concatenate([adjustment.ids for adjustment in present]),
        bias_values=np.concatenate([adjustment.values for adjustment in present]),
    )
