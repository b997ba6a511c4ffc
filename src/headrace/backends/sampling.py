"""How a token is drawn from logits: the definition that every backend's own sampler must equal.

Order: bias, mask, temperature, top-k, top-p, min-p, draw. The draw is Gumbel-max (Gumbel 1954;
exact sampling from the softmax without normalising): argmax of logit / T + noise, the noise being a
pure function of (seed, position, token id). A row's token thus depends on its own logits and
parameters only, whoever else is in the batch. Ties go to the lowest token id throughout. A token
whose bias is -inf, or whose bit of the mask is not set, is never drawn, whatever else is asked for.
"""

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import MAX_BIAS, Sampling
from headrace.errors import BackendError

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def sample(
    logits: NDArray[np.float32], sampling: Sampling, positions: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Draw one token per row: logits [M, V] -> ids [M].

    `positions` [M] are those the drawn tokens will take (the sampled row's position + 1). `logits`
    are finite and stay as they are. Raises BackendError when a mask, here at last, allows nothing.
    """
    if sampling.await_masks is not None:
        check_masks(sampling, len(logits), logits.shape[1], is_last_chance=True)
    drawn = np.empty(len(logits), dtype=np.int32)
    for m, own in enumerate(logits):
        row = adjusted(own, sampling, m)
        temperature = float(sampling.temperature[m])
        if temperature == 0.0:
            drawn[m] = int(np.argmax(row))
            continue
        scaled = row.astype(np.float64) / temperature
        kept = _survivors(
            scaled,
            top_k=int(sampling.top_k[m]),
            top_p=float(sampling.top_p[m]),
            min_p=float(sampling.min_p[m]),
        )
        noise = gumbel_noise(int(sampling.seed[m]), int(positions[m]), kept)
        drawn[m] = kept[int(np.argmax(scaled[kept] + noise))]
    return drawn


def adjusted(logits: NDArray[np.float32], sampling: Sampling, m: int) -> NDArray[np.float32]:
    """Row `m`'s logits [V] with its bias and mask; -inf: a token that may not be drawn."""
    return _masked(_biased(logits, sampling, m), sampling, m)


def check_bias(sampling: Sampling, rows: int, vocab: int) -> None:
    """Raise BackendError unless the biases of `rows` rows are as `Sampling` says."""
    offsets, ids, values = sampling.bias_offsets, sampling.bias_ids, sampling.bias_values
    if len(offsets) == len(ids) == len(values) == 0:
        return
    is_cut = len(offsets) == rows + 1 and offsets[0] == 0 and offsets[-1] == len(ids)
    if not is_cut or len(values) != len(ids) or (np.diff(offsets) < 0).any():
        raise BackendError("the batch is not valid: bias offsets do not fit rows and ids")
    for m in range(rows):
        own_ids = ids[offsets[m] : offsets[m + 1]]
        own = values[offsets[m] : offsets[m + 1]]
        if (np.diff(own_ids, prepend=-1, append=vocab) <= 0).any():
            raise BackendError(f"the batch is not valid: row {m}: bias ids must rise below {vocab}")
        if not ((np.abs(own) <= MAX_BIAS) | (own == -np.inf)).all():
            raise BackendError(f"the batch is not valid: row {m}: a bias is out of range")
        if np.count_nonzero(own == -np.inf) == vocab:
            raise BackendError(f"the batch is not valid: row {m}: every token is banned")


def check_masks(sampling: Sampling, rows: int, vocab: int, *, is_last_chance: bool = False) -> None:
    """Raise BackendError unless the masks of `rows` rows are as `Sampling` says.

    What masks that are still being made allow is looked at, and waited for, at the last chance.
    """
    which, bits = sampling.mask_rows, sampling.mask_bits
    if len(which) == 0:
        return
    words = -(-vocab // 32)
    if len(which) != rows or bits.ndim != 2 or bits.shape[1] != words:
        raise BackendError("the batch is not valid: masks do not fit rows and vocabulary")
    if ((which < -1) | (which >= len(bits))).any():
        raise BackendError("the batch is not valid: a mask that is not there")
    if sampling.await_masks is not None:
        if not is_last_chance:
            return
        sampling.await_masks()
    for m in np.flatnonzero(which >= 0):
        if not allowed_of(bits[which[m]], vocab).any():
            raise BackendError(f"the batch is not valid: row {m}: its mask allows no token")


def allowed_of(bits: NDArray[np.uint32], vocab: int) -> NDArray[np.bool_]:
    """One mask, a truth value a token: [ceil(V / 32)] -> [V]."""
    return np.unpackbits(bits.view(np.uint8), bitorder="little")[:vocab].astype(np.bool_)


def gumbel_noise(seed: int, position: int, token_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard Gumbel noise for each token id: -log(-log(u)), u in (0, 1) with 53 bits.

    u comes from two rounds of the splitmix64 finaliser (Steele et al. 2014): first over the seed
    and position, then over that and the token id.
    """
    row_key = _mix((seed + _GOLDEN * (position + 1)) & _MASK)
    keys = np.uint64(row_key) + np.uint64(_GOLDEN) * (token_ids.astype(np.uint64) + np.uint64(1))
    uniform = ((_mix_array(keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform))


def _biased(row: NDArray[np.float32], sampling: Sampling, m: int) -> NDArray[np.float32]:
    if len(sampling.bias_offsets) == 0:
        return row
    first, end = sampling.bias_offsets[m : m + 2]
    row = row.copy()
    row[sampling.bias_ids[first:end]] += sampling.bias_values[first:end]
    return row


def _masked(row: NDArray[np.float32], sampling: Sampling, m: int) -> NDArray[np.float32]:
    if len(sampling.mask_rows) == 0 or sampling.mask_rows[m] < 0:
        return row
    allowed = allowed_of(sampling.mask_bits[sampling.mask_rows[m]], len(row))
    return np.where(allowed, row, np.float32(-np.inf))


def _survivors(
    scaled: NDArray[np.float64], *, top_k: int, top_p: float, min_p: float
) -> NDArray[np.int64]:
    """Token ids that may be drawn, in rising order."""
    if top_k <= 0 and top_p >= 1.0 and min_p <= 0.0:
        return np.flatnonzero(scaled > -np.inf)
    order = np.lexsort((np.arange(len(scaled)), -scaled))  # likeliest first, ties by id
    if top_k > 0:
        order = order[:top_k]
    weights = np.exp(scaled[order] - scaled[order[0]])
    if top_p < 1.0:
        reached = np.cumsum(weights) / weights.sum()
        order = order[: int(np.searchsorted(reached, top_p, side="left")) + 1]
    if min_p > 0.0:
        order = order[weights[: len(order)] >= min_p]
    return np.sort(order[scaled[order] > -np.inf])


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _mix_array(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
