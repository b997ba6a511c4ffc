"""Several steps in one call: the definition, in terms of one.

Each further step feeds every row the token it drew, at the next position. A backend that does it
otherwise gives the same tokens, bit for bit.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headrace.backends.base import Batch, StepResult
from headrace.errors import BackendError


def repeat(batch: Batch, run: Callable[[Batch], StepResult]) -> StepResult:
    """What `batch.steps` steps give, `run` doing one.

    Raises BackendError, before any is run, when the batch may not be repeated.
    """
    if batch.steps == 1:
        return run(batch)
    check_repeatable(batch)
    drawn = np.empty((batch.steps, len(batch.sample_rows)), np.int32)
    once = replace(batch, steps=1)
    for step in range(batch.steps):
        drawn[step] = run(once).token_ids
        once = replace(once, token_ids=drawn[step].copy(), positions=once.positions + np.int32(1))
    return StepResult(token_ids=drawn.reshape(-1))


def check_repeatable(batch: Batch) -> None:
    """Raise BackendError unless `batch` may run for its `steps`."""
    rows = len(batch.token_ids)
    sampling = batch.sampling
    has_masks = len(sampling.mask_rows) > 0
    is_plain = not (len(sampling.bias_ids) or has_masks or batch.taps or batch.want_logits)
    in_order = np.array_equal(batch.sample_rows, np.arange(rows))
    if batch.steps < 1 or not is_plain or not in_order or (np.diff(batch.row_sequence) == 0).any():
        raise BackendError(
            "the batch is not valid: only rows of one sequence each, all sampled in order, without "
            f"bias, masks, taps and logits, run for {batch.steps} steps"
        )
