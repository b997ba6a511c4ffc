"""Matrix products for a few rows: read a vector, stream a matrix, write a vector.

One program owns `BN` outputs and reads their rows of the matrix whole, cut along the inputs into
`PARTS` parts, one per warp, that are added at the end. The rows come four or eight at a time, each
as two bf16 numbers whose sum is its float32 to 2^-16 (`split`): the tensor cores multiply a 16-bit
matrix by eight or sixteen columns, the high parts of the rows and their low parts, for the price of
reading the matrix once. So activations keep float32's precision, and a row's bits do not depend on
how many rows there are: a column is summed the same way whatever stands beside it.

The factor of a norm commutes with the product: rows arrive multiplied by the norm's weight, and
1 / rms is applied to the outputs. Whoever wrote the row left the sums of its squares, run by run.

`split` rows lie as [groups, 2 * GROUP, K] bf16: GROUP high parts, then as many low parts;
`squares`, of runs of a row, as [runs, ROWS] float32.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import begin, multiply, rounded

RUN = tl.constexpr(16)  # outputs whose squares are added up by whoever makes them
ROWS = tl.constexpr(16)  # rows a buffer has; a group of four or eight is computed at a time
_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)  # see backends.sampling
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def store_split(split, values, row, n, where, N: tl.constexpr, GROUP: tl.constexpr):
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
def _load(pointers, n, k, K: tl.constexpr, N: tl.constexpr, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers, eviction_policy="evict_first")
    inside = (n < N)[None, :, None] & (k < K)[:, None, :]
    return tl.load(pointers, mask=inside, other=0.0, eviction_policy="evict_first")


@triton.jit
def _first_step(
    w,
    tile,
    K: tl.constexpr,
    N: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """With `AHEAD`, the weights of the first step, which are asked for before the wait."""
    LENGTH: tl.constexpr = _part_length(K, PARTS, BK)
    EVEN: tl.constexpr = N % BN == 0 and LENGTH * PARTS == K
    if AHEAD:
        n = tile * BN + tl.arange(0, BN)
        k = LENGTH * tl.arange(0, PARTS)[:, None] + tl.arange(0, BK)[None, :]
        return _load(_weight_pointers(w, tile, K, BN, PARTS, BK), n, k, K, N, EVEN)
    else:  # noqa: RET505 - the compiler looks at both otherwise
        return tile


@triton.jit
def _load_rows(pointers, live, k, K: tl.constexpr, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers, mask=live, other=0.0)
    return tl.load(pointers, mask=live & (k < K)[:, :, None], other=0.0)


@triton.jit
def _whole(sums, BN: tl.constexpr, GROUP: tl.constexpr):
    """Parts and halves [PARTS, BN, 2 * GROUP] added up: [BN, GROUP]."""
    return tl.sum(tl.reshape(tl.sum(sums, axis=0), [BN, 2, GROUP]), axis=1)


@triton.jit
def _products(
    x,
    w,
    first,
    group,
    tile,
    n_rows,
    K: tl.constexpr,
    N: tl.constexpr,
    GROUP: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """Outputs `tile` of a group's rows: [BN, GROUP] float32; `first`: see `_first_step`."""
    LENGTH: tl.constexpr = _part_length(K, PARTS, BK)
    EVEN: tl.constexpr = N % BN == 0 and LENGTH * PARTS == K
    n = tile * BN + tl.arange(0, BN)
    k = LENGTH * tl.arange(0, PARTS)[:, None] + tl.arange(0, BK)[None, :]
    column = tl.arange(0, 2 * GROUP)
    live = (column % GROUP + group * GROUP < n_rows)[None, None, :]
    weights = _weight_pointers(w, tile, K, BN, PARTS, BK)
    rows = x + group * (2 * GROUP * K) + column[None, None, :] * K + k[:, :, None]
    sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    if AHEAD:  # multiplied last, so that the others are asked for before it is waited for
        first_rows = _load_rows(rows, live, k, K, EVEN)
    for step in tl.range(AHEAD, LENGTH // BK, num_stages=STAGES):
        at = k + step * BK
        a = _load(weights + step * BK, n, at, K, N, EVEN)
        b = _load_rows(rows + step * BK, live, at, K, EVEN)
        sums = multiply(a, b, sums)
    if AHEAD:
        sums = multiply(first, first_rows, sums)
    return _whole(sums, BN, GROUP)


@triton.jit
def _squares(
    squares, group, n_rows, GROUP: tl.constexpr, SQUARES: tl.constexpr, PADDED: tl.constexpr
):
    """Sums of squares of `SQUARES` runs of a group's rows: [PADDED, 8], whatever `GROUP` is."""
    run, row = tl.arange(0, PADDED), tl.arange(0, 8)
    where = (run < SQUARES)[:, None] & ((row < GROUP) & (group * GROUP + row < n_rows))[None, :]
    return tl.load(squares + run[:, None] * ROWS + group * GROUP + row[None, :], where, other=0.0)


@triton.jit
def _factor(found, eps, K: tl.constexpr, GROUP: tl.constexpr):
    """1 / rms of a group's rows, of what `_squares` found: [1, GROUP].

    All shapes of groups add in the same order: what a small one has not are zeros.
    """
    total = tl.sum(tl.reshape(tl.sum(found, axis=0), [8 // GROUP, GROUP]), axis=0)
    return (1.0 / tl.sqrt(total / K + eps))[None, :]


@triton.jit
def sums_of_runs(values, BN: tl.constexpr, GROUP: tl.constexpr):
    """values [BN, GROUP] added up in runs of `RUN` outputs, pairwise: [BN // RUN, GROUP].

    The order of the additions is written down, so it is the same however the values are laid out.
    """
    size: tl.constexpr = BN // RUN
    for step in tl.static_range(4):
        pairs = tl.reshape(values, [size, 8 >> step, 2, GROUP])
        left, right = tl.split(tl.permute(pairs, (0, 1, 3, 2)))
        values = left + right
    return tl.reshape(values, [size, GROUP])


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
    GROUP: tl.constexpr,
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
    FIRST: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, N] = x @ w.T, normed if `SQUARES`, with bias; added to out if `ADDS`.

    With `NEXT` the result is written as well as the next product wants it: times `gamma`, split,
    with its squares.
    """
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    first = _first_step(w, tile, K, N, BN, PARTS, BK, AHEAD)
    n = (tile * BN + tl.arange(0, BN))[:, None]
    row = (group * GROUP + tl.arange(0, GROUP))[None, :]
    where = (n < N) & (row < n_rows)
    if NEXT:
        weight = tl.load(gamma + n, mask=n < N, other=0.0)
    begin(PDL, FIRST)
    # What the end needs is asked for first: it comes while the matrix streams.
    if SQUARES > 0:
        found = _squares(squares, group, n_rows, GROUP, SQUARES, PADDED)
    if ADDS:
        before = tl.load(out + row * N + n, mask=where, other=0.0)
    value = _products(x, w, first, group, tile, n_rows, K, N, GROUP, BN, PARTS, BK, STAGES, AHEAD)
    if SQUARES > 0:
        value *= _factor(found, eps, K, GROUP)
    if HAS_BIAS:
        value += tl.load(bias + n, mask=n < N, other=0.0)
    if ADDS:
        value += before
    tl.store(out + row * N + n, value, mask=where)
    if NEXT:
        store_split(next_x, value * weight, row, n, where, N, GROUP)
        runs = sums_of_runs(tl.where(where, value * value, 0.0), BN, GROUP)
        run = (tile * (BN // RUN) + tl.arange(0, BN // RUN))[:, None]
        tl.store(next_squares + run * ROWS + row, runs, mask=(run * RUN < N) & (row < n_rows))


@triton.jit
def activated(gate, GELU: tl.constexpr):
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
    GROUP: tl.constexpr,
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
    FIRST: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, N] = f(x @ w_gate.T) * (x @ w_up.T); with `NEXT` split into `next_x` instead."""
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    first_gate = _first_step(w_gate, tile, K, N, BN, PARTS, BK, AHEAD)
    first_up = _first_step(w_up, tile, K, N, BN, PARTS, BK, AHEAD)
    begin(PDL, FIRST)
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
        found = _squares(squares, group, n_rows, GROUP, SQUARES, PADDED)
    gate_sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    up_sums = tl.zeros([PARTS, BN, 2 * GROUP], tl.float32)
    if AHEAD:
        first_rows = _load_rows(rows, live, k, K, EVEN)
    for step in tl.range(AHEAD, LENGTH // BK, num_stages=STAGES):
        at = k + step * BK
        b = _load_rows(rows + step * BK, live, at, K, EVEN)
        gate_sums = multiply(_load(gates + step * BK, n, at, K, N, EVEN), b, gate_sums)
        up_sums = multiply(_load(ups + step * BK, n, at, K, N, EVEN), b, up_sums)
    if AHEAD:
        gate_sums = multiply(first_gate, first_rows, gate_sums)
        up_sums = multiply(first_up, first_rows, up_sums)
    gate, up = _whole(gate_sums, BN, GROUP), _whole(up_sums, BN, GROUP)
    if SQUARES > 0:
        factor = _factor(found, eps, K, GROUP)
        gate *= factor
        up *= factor
    n = n[:, None]
    if HAS_BIAS:
        gate += tl.load(gate_bias + n, mask=n < N, other=0.0)
        up += tl.load(up_bias + n, mask=n < N, other=0.0)
    value = activated(gate, GELU) * up
    row = (group * GROUP + tl.arange(0, GROUP))[None, :]
    where = (n < N) & (row < n_rows)
    if NEXT:
        store_split(next_x, value, row, n, where, N, GROUP)
    else:
        tl.store(out + row * N + n, value, mask=where)


@triton.jit
def _mix(x):
    x = (x ^ (x >> 30)) * _MIX_1
    x = (x ^ (x >> 27)) * _MIX_2
    return x ^ (x >> 31)


@triton.jit
def _noise(seed, position, token):
    """`sampling.gumbel_noise`, float64, of seeds and positions [1, GROUP] and tokens [BN, 1]."""
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
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    SQUARES: tl.constexpr,
    PADDED: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    AHEAD: tl.constexpr,
    FIRST: tl.constexpr,
    PDL: tl.constexpr,
):
    """logits [ROWS, N], and of each tile the best token and its score, [tiles, ROWS].

    The score is the logit, or with a temperature logit / T + noise, float64, as
    `backends.sampling` has it without thresholds. Of equals the lowest id is best. A score that is
    no number stands for a logit that is none.
    """
    tile = tl.program_id(0) // GROUPS
    group = tl.program_id(0) % GROUPS
    first = _first_step(w, tile, K, N, BN, PARTS, BK, AHEAD)
    begin(PDL, FIRST)
    found = _squares(squares, group, n_rows, GROUP, SQUARES, PADDED)
    value = _products(x, w, first, group, tile, n_rows, K, N, GROUP, BN, PARTS, BK, STAGES, AHEAD)
    value *= _factor(found, eps, K, GROUP)
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
