"""Draws with thresholds, biases and masks, on the device, as `backends.sampling` defines them.

Rows with nothing but a temperature are drawn by the head kernel itself and do not come here.
"""
# pyright: basic, reportMissingImports=false

import numpy as np
import torch

from headrace.backends.base import Sampling
from headrace.backends.sampling import check_bias, check_masks

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def is_plain(sampling: Sampling) -> bool:
    """Whether the head kernel draws such rows."""
    has_thresholds = ((sampling.top_k > 0) | (sampling.top_p < 1.0) | (sampling.min_p > 0.0)) & (
        sampling.temperature > 0.0
    )
    return not (
        bool(has_thresholds.any()) or len(sampling.bias_ids) > 0 or len(sampling.mask_rows) > 0
    )


def check(sampling: Sampling, rows: int, vocab: int) -> None:
    """Raise BackendError unless biases and masks are as `Sampling` says."""
    check_bias(sampling, rows, vocab)
    check_masks(sampling, rows, vocab)


def draw(logits: torch.Tensor, sampling: Sampling, positions: np.ndarray) -> torch.Tensor:
    """One token per row of finite logits [M, V]: [M] int64.

    `positions` [M] are those the tokens will take. Raises BackendError when a mask, here at last,
    allows nothing.
    """
    if sampling.await_masks is not None:
        check_masks(sampling, len(logits), logits.shape[1], is_last_chance=True)
    drawn = [
        _draw_row(_adjusted(row, sampling, m), sampling, m, int(positions[m]))
        for m, row in enumerate(logits)
    ]
    return torch.stack(drawn)


def _adjusted(row: torch.Tensor, sampling: Sampling, m: int) -> torch.Tensor:
    if len(sampling.bias_offsets) > 0:
        first, end = sampling.bias_offsets[m : m + 2]
        if end > first:
            row = row.clone()
            ids = torch.from_numpy(sampling.bias_ids[first:end].astype(np.int64)).to(row.device)
            row[ids] += torch.from_numpy(sampling.bias_values[first:end]).to(row.device)
    if len(sampling.mask_rows) > 0 and sampling.mask_rows[m] >= 0:
        words = sampling.mask_bits[sampling.mask_rows[m]].view(np.int32)
        bits = torch.from_numpy(words.copy()).to(row.device)
        lanes = torch.arange(32, dtype=torch.int32, device=row.device)
        allowed = ((bits[:, None] >> lanes) & 1).bool().flatten()[: len(row)]
        row = torch.where(allowed, row, float("-inf"))
    return row


def _draw_row(row: torch.Tensor, sampling: Sampling, m: int, position: int) -> torch.Tensor:
    temperature = float(sampling.temperature[m])
    if temperature == 0.0:
        return torch.argmax(row)
    scaled, order = torch.sort(row.double() / temperature, descending=True, stable=True)
    top_k, top_p = int(sampling.top_k[m]), float(sampling.top_p[m])
    if 0 < top_k < len(scaled):
        scaled, order = scaled[:top_k], order[:top_k]
    weights = (scaled - scaled[0]).exp()
    kept = scaled > float("-inf")
    if top_p < 1.0:
        reached = weights.cumsum(0) / weights.sum()
        count = torch.searchsorted(reached, torch.tensor([top_p], dtype=reached.dtype).to(reached))
        kept &= torch.arange(len(scaled), device=row.device) <= count
    if float(sampling.min_p[m]) > 0.0:
        kept &= weights >= float(sampling.min_p[m])
    score = scaled + _noise(int(sampling.seed[m]), position, order)
    return order[torch.argmax(torch.where(kept, score, float("-inf")))]


def _noise(seed: int, position: int, token_ids: torch.Tensor) -> torch.Tensor:
    """`sampling.gumbel_noise` of each token id, float64; its 64-bit words are int64 here."""
    row_key = (seed + _GOLDEN * (position + 1)) & _MASK
    row_key = ((row_key ^ (row_key >> 30)) * _MIX_1) & _MASK
    row_key = ((row_key ^ (row_key >> 27)) * _MIX_2) & _MASK
    row_key ^= row_key >> 31
    keys = _signed(row_key) + _signed(_GOLDEN) * (token_ids + 1)
    keys = (keys ^ _shifted(keys, 30)) * _signed(_MIX_1)
    keys = (keys ^ _shifted(keys, 27)) * _signed(_MIX_2)
    keys ^= _shifted(keys, 31)
    uniform = (_shifted(keys, 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _shifted(words: torch.Tensor, count: int) -> torch.Tensor:
    return (words >> count) & ((1 << (64 - count)) - 1)
