"""MXFP4 matrices in the order in which the lanes of a warp hold what tensor cores multiply.

A tensor core takes 16 outputs by 16 inputs, of which lane 4 g + t holds outputs g and g + 8 at
inputs 2 t, 2 t + 1, 2 t + 8 and 2 t + 9. Here an input is an int16 with the codes of four inputs
of the matrix, the first in its lowest bits: a run of 64 inputs is two blocks of 32 that share a
scale, inputs 0 to 7 and 8 to 15. So a lane holds eight int16s of a run, 16 bytes that lie together;
a run of 16 outputs is 512 bytes, and the runs of the same outputs follow each other. The scales of
a lane's four blocks lie in an int32, which lanes of the same g share.

The bits of an int16's four codes lie so that masks and shifts put each code where bf16 has its
sign (bit 15), the end of its exponent (8, 7) and the begin of its mantissa (6): code 0 as it is,
code 1 three bits lower, code 2 six; code 3 has the bits that are left.

What is missing to whole runs and to 16 outputs are zeros.
"""
# pyright: basic, reportMissingImports=false

import torch
from torch.nn import functional

from headrace.model.program import MXFP4_BLOCK

RUN_INPUTS = 64  # of the matrix
TILE_OUTPUTS = 16
_NEUTRAL_SCALE = 127  # 2^0
_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def shapes(outputs: int, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the codes, int16, and of the scales, int32, of a matrix [outputs, inputs]."""
    tiles, runs = -(-outputs // TILE_OUTPUTS), -(-inputs // RUN_INPUTS)
    return (tiles, runs, 32, 8), (tiles, runs, 8)


def packed(codes: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """codes [N, B, 16] and scales [N, B], uint8 as MXFP4 has them, in `shapes`."""
    outputs, blocks = scales.shape
    more = 0, blocks % 2, 0, -outputs % TILE_OUTPUTS
    codes = functional.pad(codes, (0, 0, *more))
    scales = functional.pad(scales, more, value=_NEUTRAL_SCALE)
    tiles, runs = scales.shape[0] // TILE_OUTPUTS, scales.shape[1] // 2
    lanes = _scattered(codes.view(torch.int16)).view(
        tiles, 2, 8, runs, 2, 4, 2
    )  # r8, g, run, h, t, c
    lanes = lanes.permute(0, 3, 2, 5, 4, 1, 6).reshape(tiles, runs, 32, 8)
    words = scales.view(tiles, 2, 8, runs, 2).permute(0, 3, 2, 4, 1).flatten()
    return lanes, words.view(torch.int32).view(tiles, runs, 8)


def numbers(lanes: torch.Tensor, words: torch.Tensor, outputs: int, inputs: int) -> torch.Tensor:
    """What `packed` made of a matrix [outputs, inputs], as the numbers it stands for: bf16."""
    tiles, runs = words.shape[:2]
    pairs = lanes.view(tiles, runs, 8, 4, 2, 2, 2).permute(0, 5, 2, 1, 4, 3, 6)
    codes = _gathered(pairs.reshape(tiles * TILE_OUTPUTS, -1))
    scales = words.view(torch.uint8).view(tiles, runs, 8, 2, 2).permute(0, 4, 2, 1, 3)
    scales = scales.reshape(tiles * TILE_OUTPUTS, -1)
    values = torch.tensor([*_VALUES, *(-v for v in _VALUES)], device=lanes.device)
    unscaled = values[codes].unflatten(1, (-1, MXFP4_BLOCK))
    factors = (scales.int() << 23).view(torch.float32)  # 2^(scale - 127), as its bits
    return (unscaled * factors[:, :, None]).flatten(1)[:outputs, :inputs].bfloat16()


def _scattered(words: torch.Tensor) -> torch.Tensor:
    """int16s of four codes one after the other, as described above."""
    bits = words.int()
    made = ((bits & 7) << 6) | ((bits & 8) << 12)
    made |= ((bits >> 4 & 7) << 3) | ((bits >> 4 & 8) << 9)
    made |= (bits >> 8 & 7) | ((bits >> 8 & 8) << 6)
    made |= ((bits >> 12 & 13) << 11) | ((bits >> 12 & 2) << 9)
    return made.short()


def _gathered(words: torch.Tensor) -> torch.Tensor:
    """The codes of such int16s [..., n]: [..., 4 n] int32."""
    bits = words.int()
    codes = (
        (bits >> 6 & 7) | (bits >> 12 & 8),
        (bits >> 3 & 7) | (bits >> 9 & 8),
        (bits & 7) | (bits >> 6 & 8),
        (bits >> 11 & 13) | (bits >> 9 & 2),
    )
    return torch.stack(codes, dim=-1).flatten(-2)
