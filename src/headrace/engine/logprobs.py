"""Log-probabilities of a drawn token and of the likeliest ones. Pure.

They are the model's own: of its logits before bias, penalties, temperature and every filter, in
float64.
"""

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import StepResult
from headrace.engine.messages import TokenLogprobs
from headrace.engine.sequence import Sequence

MAX_TOP = 20  # alternatives a request may ask for


def logprobs_of(logits: NDArray[np.float32], token_id: int, top: int) -> TokenLogprobs:
    """Of `token_id` and of the `top` likeliest, likeliest first, ties to the lowest id.

    `logits` [V] are finite. log p[j] = l[j] - m - log(sum(exp(l - m))), m the greatest logit.
    """
    shifted = logits.astype(np.float64)
    shifted -= shifted.max()
    shifted -= np.log(np.exp(shifted).sum())
    ids = _likeliest(logits, min(top, len(logits)))
    return TokenLogprobs(
        chosen=float(shifted[token_id]),
        top=tuple(zip(ids.tolist(), shifted[ids].tolist(), strict=True)),
    )


def last_logprobs(
    sequence: Sequence, result: StepResult, row: int
) -> tuple[TokenLogprobs, ...] | None:
    """Those of the newest token of `sequence`, drawn as `row` of the step, if it asked for any.

    Tokens forced after it were certain: theirs are 0, with no alternative.
    """
    if sequence.asked.logprobs < 0:
        return None
    assert result.logits is not None, "the step did not give the logits it was asked for"
    forced = sequence.tokens[len(sequence.tokens) - sequence.num_forced :]
    drawn = sequence.tokens[-1 - sequence.num_forced]
    return (
        logprobs_of(result.logits[row], drawn, sequence.asked.logprobs),
        *(TokenLogprobs(chosen=0.0, top=((token_id, 0.0),)) for token_id in forced),
    )


def _likeliest(logits: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The ids of the `count` greatest logits, greatest first, ties to the lowest id."""
    if count == 0:
        return np.zeros(0, np.int64)
    least = np.partition(logits, -count)[-count]
    above = np.flatnonzero(logits > least)
    ids = np.concatenate([above, np.flatnonzero(logits == least)[: count - len(above)]])
    return ids[np.lexsort((ids, -logits[ids]))]
