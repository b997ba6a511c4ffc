"""The router of a mixture of experts: the norm, and what it scores each expert for each row.

A program reads its row whole and some experts' rows of the matrix, all of them asked for before it
waits for the row. It multiplies in float32, each row by itself. The normed row is left as the
experts' kernels want it: each program writes a part.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import begin
from headrace.backends.cuda.experts import store_row


@triton.jit
def score(
    inp,
    inp_stride,
    gamma,
    w,
    bias,
    scores,
    next_x,
    eps,
    K: tl.constexpr,
    PADDED: tl.constexpr,
    EXPERTS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    QUANTISED: tl.constexpr,
    BN: tl.constexpr,
    PDL: tl.constexpr,
):
    """scores [ROWS, EXPERTS] of normed rows of `inp`, and those as next_x [ROWS, 2, K]."""
    tile, row = tl.program_id(0), tl.program_id(1)
    k, e = tl.arange(0, PADDED), tile * BN + tl.arange(0, BN)
    where = (e < EXPERTS)[:, None] & (k < K)[None, :]
    weights = tl.load(w + e[:, None] * K + k[None, :], mask=where, other=0.0)
    weight = tl.load(gamma + k, mask=k < K, other=0.0)
    begin(PDL, True)
    x = tl.load(inp + row * inp_stride + k, mask=k < K, other=0.0)
    x = x / tl.sqrt(tl.sum(x * x, axis=0) / K + eps) * weight
    value = tl.sum(weights.to(tl.float32) * x[None, :], axis=1)
    if HAS_BIAS:
        value += tl.load(bias + e, mask=e < EXPERTS, other=0.0)
    tl.store(scores + row * EXPERTS + e, value, mask=e < EXPERTS)
    own = (k // BN) % tl.num_programs(0) == tile
    store_row(next_x + row * (2 * K), x, k, own & (k < K), K, QUANTISED)
