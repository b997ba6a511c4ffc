"""Matrix products for a few rows: read a vector, stream a matrix, write a vector.

One program owns `BN` outputs and reads their rows of the matrix whole, cut along the inputs into
`PARTS` parts, one per warp, that are added at the end. The rows come eight at a time, each as two
bf16 numbers whose sum is its float32 to 2^-16 (`split`): the tensor cores multiply a 16-bit matrix
by sixteen columns, the high parts of eight rows and their low parts, for the price of reading the
matrix once. So activations keep float32's precision, and a row's bits do not depend on how many
rows there are: the same machine code runs for one to eight.

The factor of a norm commutes with the product: rows arrive multiplied by the norm's weight, and
1 / rms is applied to the outputs. Whoever wrote the row left the sums of its squares, tile by tile.

`split` rows lie as [groups, 16, K] bf16, a group being eight rows: 8 high parts, 8 low parts;
`squares` as [tiles, ROWS] float32.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import begin, multiply, prefetch, rounded

ROWS = tl.constexpr(16)  # rows a buffer has; a group of eight is computed at a time
GROUP = tl.constexpr(8)
_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)  # see backends.sampling
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def store_split(split, values, row, n, where, N: tl.constexpr):
    """Write `values`, of rows `row` and columns `n`, as high and low parts."""
    high = rounded(values)
    low = rounded(values - high.to(tl.float32))
    place = (row // GROUP) * (2 * GROUP * N) + (row % GROUP) * N + n
    tl.store(split + place, high, mask=where)
    tl.store(split + place + GROUP * N, low, mask=where)


@triton.jit
def _weight_pointers(
    w, tile, K: tl.constexpr, BN: tl.constexpr, PARTS: tl.constexpr, BK: tl.constexpr
):
    n = tile * BN + tl.arange(0, BN)
    k = _part_length(K, PARTS, BK) * tl.arange(0, PARTS)[:, None] + tl.arange(0, BK)[None, :]
    return w + n.to(tl.int64)[None, :, None] * K + k[:, None, :]


@triton.constexpr_function
def _part_length(K, PARTS, BK):
    """Inputs of a part: K over the parts, a whole number of `BK`."""
    return -(-K // (PARTS * BK)) * BK


@triton.jit
def _prefetch(
    w,
    tile,
    K: tl.constexpr,
    N: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """Ask for the first `AHEAD` steps of the program's weights, before the wait.

    Each thread asks for a run of its own: a part of a row, or half of that.
    """
    LENGTH: tl.constexpr = _part_length(K, PARTS, BK)
    EVEN: tl.constexpr = N % BN == 0 and LENGTH * PARTS == K and K % 8 == 0
    if PDL and EVEN and AHEAD > 0:
        RUNS: tl.constexpr = 32 // BN
        RUN: tl.constexpr = min(AHEAD * BK, LENGTH) // RUNS
        n = tile * BN + tl.arange(0, BN)
        k = LENGTH * tl.arange(0, PARTS)[:, None] + RUN * tl.arange(0, RUNS)[None, :]
        prefetch(w + n.to(tl.int64)[None, :, None] * K + k[:, None, :], 2 * RUN)


@triton.jit
def _load(pointers, n, k, K: tl.constexpr, N: tl.constexpr, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers, eviction_policy="evict_first")
    inside = (n < N)[None, :, None] & (k < K)[:, None, :]
    return tl.load(pointers, mask=inside, other=0.0, eviction_policy="evict_first")


@triton.jit
def _load_rows(pointers, live, k, K: tl.constexpr, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers, mask=live, other=0.0)
    return tl.load(pointers, mask=live & (k < K)[:, :, None], other=0.0)


@triton.jit
def _whole(sums, BN: tl.constexpr):
    """Parts and halves [PARTS, BN, 16] added up: [BN, 8]."""
    return tl.sum(tl.reshape(tl.sum(sums, axis=0), [BN, 2, GROUP]), axis=1)


@triton.jit
def _products(
    x,
    w,
    group,
    tile,
    n_rows,
    K: tl.constexpr,
    N: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Outputs `tile` of a group's rows: [BN, 8] float32."""
    LENGTH: tl.constexpr = _part_length(K, PARTS, BK)
    EVEN: tl.constexpr = N % BN == 0 and LENGTH * PARTS == K
    n = tile * BN + tl.arange(0, BN)
    k = LENGTH * tl.arange(0, PARTS)[:, None] + tl.arange(0, BK)[None, :]
    column = tl.arange(0, 2 * GROUP)
    live = (column % GROUP + group * GROUP < n_rows)[None, None, :]
    weights = _weight_pointers(w, tile, K, BN, PARTS, BK)
    rows = x + group * (2 * GROUP * K) + column[None, None, :] * K + k[:, :, None]
    sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    for step in tl.range(0, LENGTH // BK, num_stages=STAGES):
        at = k + step * BK
        a = _load(weights + step * BK, n, at, K, N, EVEN)
        b = _load_rows(rows + step * BK, live, at, K, EVEN)
        sums = multiply(a, b, sums)
    return _whole(sums, BN)


@triton.jit
def _factor(squares, group, eps, K: tl.constexpr, SQUARES: tl.constexpr, PADDED: tl.constexpr):
    """1 / rms of a group's rows, from the sums of squares of `SQUARES` tiles: [8]."""
    tile = tl.arange(0, PADDED)
    place = tile[:, None] * ROWS + group * GROUP + tl.arange(0, GROUP)[None, :]
    total = tl.sum(tl.load(squares + place, mask=(tile < SQUARES)[:, None], other=0.0), axis=0)
    return 1.0 / tl.sqrt(total / K + eps)


@triton.jit(do_not_specialize=["n_rows"])
def linear(
    x,
    squares,
    w,
    bias,
    out,
    gamma,
    next_x,
    next_squares,
    n_rows,
    eps,
    K: tl.constexpr,
    N: tl.constexpr,
    GROUPS: tl.constexpr,
    SQUARES: tl.constexpr,
    PADDED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDS: tl.constexpr,
    NEXT: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, N] = x @ w.T, normed if `SQUARES`, with bias; added to out if `ADDS`.

    With `NEXT` the result is written as well as the next product wants it: times `gamma`, split,
    with its squares.
    """
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    _prefetch(w, tile, K, N, BN, PARTS, BK, AHEAD, PDL)
    n = (tile * BN + tl.arange(0, BN))[:, None]
    row = (group * GROUP + tl.arange(0, GROUP))[None, :]
    where = (n < N) & (row < n_rows)
    if NEXT:
        weight = tl.load(gamma + n, mask=n < N, other=0.0)
    begin(PDL)
    # What the end needs is asked for first: it comes while the matrix streams.
    if SQUARES > 0:
        factor = _factor(squares, group, eps, K, SQUARES, PADDED)[None, :]
    if ADDS:
        before = tl.load(out + row * N + n, mask=where, other=0.0)
    value = _products(x, w, group, tile, n_rows, K, N, BN, PARTS, BK, STAGES)
    if SQUARES > 0:
        value *= factor
    if HAS_BIAS:
        value += tl.load(bias + n, mask=n < N, other=0.0)
    if ADDS:
        value += before
    tl.store(out + row * N + n, value, mask=where)
    if NEXT:
        store_split(next_x, value * weight, row, n, where, N)
        found = tl.sum(tl.where(where, value * value, 0.0), axis=0)
        tl.store(next_squares + tile * ROWS + group * GROUP + tl.arange(0, GROUP), found)


@triton.jit
def _activated(gate, GELU: tl.constexpr):
    """silu, or gelu_tanh: see `program.Activate`."""
    if GELU:
        y = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        return gate * (1.0 - 1.0 / (tl.exp(2.0 * y) + 1.0))  # (1 + tanh(y)) / 2
    return gate / (1.0 + tl.exp(-gate))


@triton.jit(do_not_specialize=["n_rows"])
def gated(
    x,
    squares,
    w_gate,
    w_up,
    gate_bias,
    up_bias,
    out,
    next_x,
    n_rows,
    eps,
    K: tl.constexpr,
    N: tl.constexpr,
    GROUPS: tl.constexpr,
    SQUARES: tl.constexpr,
    PADDED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GELU: tl.constexpr,
    NEXT: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, N] = f(x @ w_gate.T) * (x @ w_up.T); with `NEXT` split into `next_x` instead."""
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    _prefetch(w_gate, tile, K, N, BN, PARTS, BK, AHEAD, PDL)
    _prefetch(w_up, tile, K, N, BN, PARTS, BK, AHEAD, PDL)
    begin(PDL)
    LENGTH: tl.constexpr = _part_length(K, PARTS, BK)
    EVEN: tl.constexpr = N % BN == 0 and LENGTH * PARTS == K
    n = tile * BN + tl.arange(0, BN)
    k = LENGTH * tl.arange(0, PARTS)[:, None] + tl.arange(0, BK)[None, :]
    column = tl.arange(0, 2 * GROUP)
    live = (column % GROUP + group * GROUP < n_rows)[None, None, :]
    gates = _weight_pointers(w_gate, tile, K, BN, PARTS, BK)
    ups = _weight_pointers(w_up, tile, K, BN, PARTS, BK)
    rows = x + group * (2 * GROUP * K) + column[None, None, :] * K + k[:, :, None]
    if SQUARES > 0:
        factor = _factor(squares, group, eps, K, SQUARES, PADDED)[None, :]
    gate_sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    up_sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    for step in tl.range(0, LENGTH // BK, num_stages=STAGES):
        at = k + step * BK
        b = _load_rows(rows + step * BK, live, at, K, EVEN)
        gate_sums = multiply(_load(gates + step * BK, n, at, K, N, EVEN), b, gate_sums)
        up_sums = multiply(_load(ups + step * BK, n, at, K, N, EVEN), b, up_sums)
    gate, up = _whole(gate_sums, BN), _whole(up_sums, BN)
    if SQUARES > 0:
        gate *= factor
        up *= factor
    n = n[:, None]
    if HAS_BIAS:
        gate += tl.load(gate_bias + n, mask=n < N, other=0.0)
        up += tl.load(up_bias + n, mask=n < N, other=0.0)
    value = _activated(gate, GELU) * up
    row = (group * GROUP + tl.arange(0, GROUP))[None, :]
    where = (n < N) & (row < n_rows)
    if NEXT:
        store_split(next_x, value, row, n, where, N)
    else:
        tl.store(out + row * N + n, value, mask=where)


@triton.jit
def _mix(x):
    x = (x ^ (x >> 30)) * _MIX_1
    x = (x ^ (x >> 27)) * _MIX_2
    return x ^ (x >> 31)


@triton.jit
def _noise(seed, position, token):
    """`sampling.gumbel_noise`, float64, of seeds and positions [1, 8] and tokens [BN, 1]."""
    row_key = _mix(seed + (position + 1).to(tl.uint64) * _GOLDEN)
    keys = row_key + (token + 1).to(tl.uint64) * _GOLDEN
    uniform = ((_mix(keys) >> 11).to(tl.float64) + 0.5) * 1.1102230246251565e-16  # 2^-53
    return -tl.log(-tl.log(uniform))


@triton.jit(do_not_specialize=["n_rows"])
def head(
    x,
    squares,
    w,
    logits,
    best_score,
    best_token,
    temperature,
    seed,
    positions,
    n_rows,
    eps,
    K: tl.constexpr,
    N: tl.constexpr,
    GROUPS: tl.constexpr,
    SQUARES: tl.constexpr,
    PADDED: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
    PDL: tl.constexpr,
):
    """logits [ROWS, N], and of each tile the best token and its score, [tiles, ROWS].

    The score is the logit, or with a temperature logit / T + noise, float64, as
    `backends.sampling` has it without thresholds. Of equals the lowest id is best. A score that is
    no number stands for a logit that is none.
    """
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    _prefetch(w, tile, K, N, BN, PARTS, BK, AHEAD, PDL)
    begin(PDL)
    factor = _factor(squares, group, eps, K, SQUARES, PADDED)[None, :]
    value = factor * _products(x, w, group, tile, n_rows, K, N, BN, PARTS, BK, STAGES)
    n = (tile * BN + tl.arange(0, BN))[:, None]
    rows = group * GROUP + tl.arange(0, GROUP)
    row = rows[None, :]
    tl.store(logits + row * N + n, value, mask=(n < N) & (row < n_rows))
    warmth = tl.load(temperature + rows)
    score = value.to(tl.float64)
    if tl.max(warmth, axis=0) > 0.0:
        own = tl.load(seed + rows).to(tl.uint64)[None, :]
        place = (tl.load(positions + rows) + 1)[None, :]
        warm = (warmth > 0.0)[None, :]
        divisor = tl.where(warmth > 0.0, warmth, 1.0).to(tl.float64)[None, :]
        score = tl.where(warm, score / divisor + _noise(own, place, n), score)
    score = tl.where(n < N, score, float("-inf"))
    is_number = (value == value) & (tl.abs(value) < float("inf"))
    broken = tl.max(tl.where((n < N) & (is_number == 0), 1, 0), axis=0)
    chosen = tl.argmax(tl.where(is_number | (n >= N), score, float("-inf")), axis=0)
    top = tl.max(tl.where(is_number, score, float("-inf")), axis=0)
    place = tile * ROWS + rows
    tl.store(best_score + place, tl.where(broken > 0, float("nan"), top))
    tl.store(best_token + place, tile * BN + chosen.to(tl.int32))
