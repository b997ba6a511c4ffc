"""The kernels between products: where rows come from, how they are made ready, what is drawn."""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import begin
from headrace.backends.cuda.products import ROWS, store_split


@triton.jit
def embed(
    tokens,
    table,
    out,
    gamma,
    next_x,
    next_squares,
    scale,
    H: tl.constexpr,
    NEXT: tl.constexpr,
    TILE: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, H] = table[token] * scale, and as the next product wants it."""
    row, tile = tl.program_id(0), tl.program_id(1)
    begin(PDL)
    n = tile * TILE + tl.arange(0, TILE)
    where = n < H
    token = tl.load(tokens + row).to(tl.int64)
    value = tl.load(table + token * H + n, mask=where, other=0.0).to(tl.float32) * scale
    tl.store(out + row * H + n, value, mask=where)
    if NEXT:
        weight = tl.load(gamma + n, mask=where, other=0.0)
        store_split(next_x, value * weight, row, n, where, H)
        tl.store(next_squares + tile * ROWS + row, tl.sum(value * value, axis=0))


@triton.jit
def prepare(
    inp,
    stride,
    gamma,
    next_x,
    next_squares,
    K: tl.constexpr,
    HAS_GAMMA: tl.constexpr,
    TILE: tl.constexpr,
    PDL: tl.constexpr,
):
    """Rows `inp`, `stride` apart, as a product wants them: times gamma, split, with squares."""
    row, tile = tl.program_id(0), tl.program_id(1)
    begin(PDL)
    n = tile * TILE + tl.arange(0, TILE)
    where = n < K
    value = tl.load(inp + row * stride + n, mask=where, other=0.0)
    squares = tl.sum(value * value, axis=0)
    if HAS_GAMMA:
        value *= tl.load(gamma + n, mask=where, other=0.0)
    store_split(next_x, value, row, n, where, K)
    tl.store(next_squares + tile * ROWS + row, squares)


@triton.jit
def norm(
    inp,
    inp_stride,
    out,
    out_stride,
    gamma,
    eps,
    WIDTH: tl.constexpr,
    REST: tl.constexpr,
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """`program.Norm`, a head of a row at a time; the last `REST` values of a head pass."""
    row, part = tl.program_id(0), tl.program_id(1)
    begin(PDL)
    n = tl.arange(0, PADDED)
    normed = n < WIDTH - REST
    value = tl.load(inp + row * inp_stride + part * WIDTH + n, mask=n < WIDTH, other=0.0)
    mean = tl.sum(tl.where(normed, value * value, 0.0), axis=0) / (WIDTH - REST)
    weight = tl.load(gamma + n, mask=normed, other=1.0)
    scaled = tl.where(normed, value / tl.sqrt(mean + eps) * weight, value)
    tl.store(out + row * out_stride + part * WIDTH + n, scaled, mask=n < WIDTH)


@triton.jit
def draw(
    best_score,
    best_token,
    tokens,
    positions,
    drawn,
    steps_done,
    STEPS: tl.constexpr,
    TILES: tl.constexpr,
    PADDED: tl.constexpr,
    PDL: tl.constexpr,
):
    """The best of all tiles: the row's next token, which the next step embeds, one further on.

    It is also kept as number `steps_done` of `drawn` [STEPS, ROWS]; -1 where a logit is no number.
    """
    row = tl.program_id(0)
    begin(PDL)
    tile = tl.arange(0, PADDED)
    where = tile < TILES
    score = tl.load(best_score + tile * ROWS + row, mask=where, other=float("-inf"))
    is_number = score == score
    broken = tl.max(tl.where(is_number, 0, 1), axis=0)
    best = tl.argmax(tl.where(is_number, score, float("-inf")), axis=0)
    token = tl.load(best_token + best * ROWS + row)
    step, position = tl.load(steps_done + row), tl.load(positions + row)
    tl.store(drawn + step * ROWS + row, tl.where(broken > 0, -1, token), mask=step < STEPS)
    tl.store(tokens + row, token)
    tl.store(positions + row, tl.where(position < 0, position, position + 1))
    tl.store(steps_done + row, step + 1)
