"""Log-probabilities of a prompt's own tokens: which rows of a step give them, and what they are.

The logits of position p say how likely the token at p + 1 was. Such a row is drawn like any other,
for the likeliest token, which nobody takes: so every backend can score. Pure.
"""

from collections.abc import Sequence as Seq
from dataclasses import replace

import numpy as np

from headrace.backends.base import Batch, Sampling, StepResult
from headrace.engine.logprobs import logprobs_of
from headrace.engine.messages import PromptLogprobs
from headrace.engine.scheduler import Chunk


def scored_positions(chunk: Chunk) -> range:
    """Positions of `chunk` whose logits are wanted: all, but for those that were scored before.

    That of a prompt's last token says how likely the first output token is: it is no prompt's.
    """
    sequence = chunk.sequence
    if not sequence.asked.scores_prompt:
        return range(0)
    end = min(sequence.computed + chunk.count, len(sequence.asked.prompt) - 1)
    return range(max(sequence.computed, sequence.num_scored), end)


def with_scored_rows(batch: Batch, plan: Seq[Chunk]) -> Batch:
    """`batch`, made of `plan`, with the rows to score behind those that are sampled."""
    rows: list[int] = []
    first = 0  # row of the chunk's first token
    for chunk in plan:
        rows += (p - chunk.sequence.computed + first for p in scored_positions(chunk))
        first += chunk.count
    if not rows:
        return batch
    return replace(
        batch,
        sample_rows=np.concatenate([batch.sample_rows, np.array(rows, np.int32)]),
        sampling=_extended(batch.sampling, len(rows)),
        want_logits=True,
    )


def prompt_logprobs(plan: Seq[Chunk], result: StepResult) -> list[PromptLogprobs]:
    """What the rows of `with_scored_rows` say; to be asked before `computed` moves on."""
    positions = [scored_positions(chunk) for chunk in plan]
    count = sum(map(len, positions))
    if not count:
        return []
    assert result.logits is not None, "the step did not give the logits it was asked for"
    logits = iter(result.logits[-count:])
    out: list[PromptLogprobs] = []
    for chunk, scored in zip(plan, positions, strict=True):
        if scored:
            asked = chunk.sequence.asked
            entries = [
                logprobs_of(next(logits), asked.prompt[p + 1], asked.logprobs) for p in scored
            ]
            chunk.sequence.num_scored = scored.stop
            out.append(PromptLogprobs(id=asked.id, logprobs=tuple(entries)))
    return out


def _extended(sampling: Sampling, count: int) -> Sampling:
    """`sampling` with `count` more rows: the likeliest token, without bias and mask."""
    more, offsets, masks = Sampling.greedy(count), sampling.bias_offsets, sampling.mask_rows
    if len(offsets):
        offsets = np.concatenate([offsets, np.repeat(offsets[-1:], count)])
    if len(masks):
        masks = np.concatenate([masks, np.full(count, -1, np.int32)])
    return replace(
        sampling,
        temperature=np.concatenate([sampling.temperature, more.temperature]),
        top_k=np.concatenate([sampling.top_k, more.top_k]),
        top_p=np.concatenate([sampling.top_p, more.top_p]),
        min_p=np.concatenate([sampling.min_p, more.min_p]),
        seed=np.concatenate([sampling.seed, more.seed]),
        bias_offsets=offsets,
        mask_rows=masks,
    )
