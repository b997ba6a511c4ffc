"""Mixtures of experts for a few rows: of each row, the matrices of its own experts are read.

A pick is a row and one of the experts it chose. The up kernel multiplies one pick's row by some
outputs of its expert's gate and up, whose rows lie in turn; the down kernel owns some outputs of a
row and adds up what its experts make of them. So a row's bits depend on nothing but the row. Picks
of the same outputs run side by side, and an expert several of them chose comes from memory once.

MXFP4 stays four bits, in the order in which the lanes of a warp hold a matrix they multiply
(`fragments`): a lane reads 16 bytes at a time, and no number moves between lanes. On the way to the
tensor cores a code becomes the bf16 number it stands for, exactly: its three lower bits, where bf16
has the end of its exponent and the begin of its mantissa, are the magnitude times 2^-126, and
2^(scale - 1) makes up for that. So products are those with the dequantised weights.

Rows come as two bf16 numbers whose sum is the float32 to 2^-16, as in `products`: [2, K] each, and
for MXFP4 [2, 4, K / 4], every fourth input from each of the first four on.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import INTERPRETED, begin, multiply, rounded
from headrace.backends.cuda.products import ROWS, RUN, activated, store_split, sums_of_runs

_COLUMNS = tl.constexpr(8)  # the fewest a tensor core takes: high and low parts, of each plane
_CODES = tl.constexpr(4)  # that an int16 holds: of as many inputs one after the other
_DEPTH = tl.constexpr(16)  # inputs of a row, or int16s of it, that a tensor core takes at a time

# The codes of two int16s to eight bf16 numbers times the factor that $5 holds twice: the first of
# each to $0, the next to $1, and so on. How their bits lie, and why: `fragments`. z is minus zero.
_DECODE = tl.constexpr(
    "{ .reg .b32 a, b, c, z; mov.b32 z, 0x80008000;"
    " and.b32 a, $4, 0x81C081C0; fma.rn.bf16x2 $0, a, $5, z;"
    " shl.b32 a, $4, 3; and.b32 a, a, 0x81C081C0; fma.rn.bf16x2 $1, a, $5, z;"
    " shl.b32 a, $4, 6; and.b32 a, a, 0x81C081C0; fma.rn.bf16x2 $2, a, $5, z;"
    " shl.b32 a, $4, 1; and.b32 a, a, z;"
    " shr.b32 b, $4, 5; lop3.b32 b, b, 0x01400140, a, 0xEA;"
    " shr.b32 c, $4, 3; lop3.b32 c, c, 0x00800080, b, 0xEA; fma.rn.bf16x2 $3, c, $5, z; }"
)


@triton.jit
def _number(bits, factor):
    """A bf16 number's bits as a float32, times `factor`."""
    return (bits << 16).to(tl.float32, bitcast=True) * factor


@triton.jit
def _decoded(codes, scales):
    """codes and scales, int16 and int32: the numbers they stand for, four of each int16."""
    if INTERPRETED:
        factor = ((scales + 126) << 23).to(tl.float32, bitcast=True)
        bits = codes.to(tl.int32)
        last = ((bits << 1) & 0x8000) | ((bits >> 5) & 0x0140) | ((bits >> 3) & 0x0080)
        return (
            _number(bits & 0x81C0, factor),
            _number((bits << 3) & 0x81C0, factor),
            _number((bits << 6) & 0x81C0, factor),
            _number(last, factor),
        )
    return tl.inline_asm_elementwise(
        _DECODE,
        "=r,=r,=r,=r,r,r,r",
        [codes, scales * 0x800080 + 0x3F003F00],  # 2^(scale - 1) as bf16, twice
        dtype=(tl.bfloat16, tl.bfloat16, tl.bfloat16, tl.bfloat16),
        is_pure=True,
        pack=2,
    )


@triton.jit
def _matrix(pieces, TILES: tl.constexpr, DEEP: tl.constexpr, PARTS: tl.constexpr):
    """What lanes hold [PARTS, DEEP, TILES, 32, 8] as [PARTS, 16 TILES, 16 DEEP]; `fragments`."""
    whole = tl.reshape(pieces, [PARTS, DEEP, TILES, 8, 4, 2, 2, 2])
    whole = tl.permute(whole, (0, 2, 6, 3, 1, 5, 4, 7))
    return tl.reshape(whole, [PARTS, 16 * TILES, 16 * DEEP])


@triton.jit
def _place(n, N: tl.constexpr, QUANTISED: tl.constexpr):
    """Where input `n` of a row of `N` lies."""
    if QUANTISED:
        return (n % _CODES) * (N // _CODES) + n // _CODES
    return n


@triton.jit
def store_row(x, values, n, where, N: tl.constexpr, QUANTISED: tl.constexpr):
    """Write `values`, inputs `n` of a row of `N`, as its high and low parts x [2, N]."""
    high = rounded(values)
    at = x + _place(n, N, QUANTISED)
    tl.store(at, high, mask=where)
    tl.store(at + N, rounded(values - high.to(tl.float32)), mask=where)


@triton.jit
def _products(
    x,
    w,
    scales,
    expert,
    pick,
    first,
    live,
    tile,
    K: tl.constexpr,
    N: tl.constexpr,
    QUANTISED: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    WIDE: tl.constexpr,
    DEEP: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Part p's share of outputs `tile` of row `pick[p]` times matrix `expert[p]`: [PARTS, BN].

    Of `WIDE` parts of a row each takes `DEEP` runs of the row at a time, part p from the
    `first[p]`-th such piece on; all four vectors [PARTS]. A part that is not `live` gives zeros.
    """
    PLACES: tl.constexpr = K // _CODES if QUANTISED else K
    RUNS: tl.constexpr = (PLACES + _DEPTH - 1) // _DEPTH
    STEPS: tl.constexpr = (RUNS + WIDE * DEEP - 1) // (WIDE * DEEP)
    ROW_TILES: tl.constexpr = (N + 15) // 16
    TILES: tl.constexpr = BN // 16
    j = tl.arange(0, _DEPTH * DEEP)
    column = tl.arange(0, _COLUMNS)
    plane = column // 2  # of a row: for MXFP4 every column has its own, else there is one
    if QUANTISED:
        own = live[:, None, None] & (column < 2 * _CODES)[None, None, :]
    else:
        own = live[:, None, None] & (column < 2)[None, None, :]
    row = x + (pick * (2 * K))[:, None, None] + (column % 2 * K + plane * PLACES)[None, None, :]
    matrix = expert.to(tl.int64)
    sums = tl.zeros([PARTS, BN, _COLUMNS], tl.float32)
    sums1 = tl.zeros([PARTS, BN, _COLUMNS], tl.float32)
    sums2 = tl.zeros([PARTS, BN, _COLUMNS], tl.float32)
    sums3 = tl.zeros([PARTS, BN, _COLUMNS], tl.float32)
    for step in tl.range(0, STEPS, num_stages=STAGES):
        piece = step * WIDE + first
        place = piece[:, None] * (_DEPTH * DEEP) + j[None, :]
        there = own & (place < PLACES)[:, :, None]
        inputs = tl.load(row + place[:, :, None], mask=there, other=0.0)
        if QUANTISED:
            run = piece[:, None] * DEEP + tl.arange(0, DEEP)[None, :]
            rows = tile * TILES + tl.arange(0, TILES)
            where = (live[:, None] & (run < RUNS))[:, :, None] & (rows < ROW_TILES)[None, None, :]
            block = ((matrix * ROW_TILES)[:, None, None] + rows[None, None, :]) * RUNS
            block += run[:, :, None]
            # Lanes lie side by side in shared memory, too: in different banks.
            codes = tl.load(
                w + block[:, :, :, None] * 256 + tl.arange(0, 256),
                mask=where[:, :, :, None],
                other=0,
                eviction_policy="evict_first",
            )
            words = tl.load(
                scales + block[:, :, :, None] * 8 + tl.arange(0, 8),
                mask=where[:, :, :, None],
                other=0,
                eviction_policy="evict_first",
            )
            codes = tl.reshape(codes, [PARTS, DEEP, TILES, 32, 8])
            words = tl.broadcast_to(words[:, :, :, :, None], [PARTS, DEEP, TILES, 8, 4])
            words = tl.reshape(words, [PARTS, DEEP, TILES, 32])
            each = (words[:, :, :, :, None] >> (tl.arange(0, 8) // 2 * 8)) & 255
            w0, w1, w2, w3 = _decoded(codes, each)
            sums = multiply(_matrix(w0, TILES, DEEP, PARTS), inputs, sums)
            sums1 = multiply(_matrix(w1, TILES, DEEP, PARTS), inputs, sums1)
            sums2 = multiply(_matrix(w2, TILES, DEEP, PARTS), inputs, sums2)
            sums3 = multiply(_matrix(w3, TILES, DEEP, PARTS), inputs, sums3)
        else:
            n = tile * BN + tl.arange(0, BN)
            numbers = w + (matrix[:, None] * N + n[None, :])[:, :, None] * K + place[:, None, :]
            where = live[:, None, None] & (n < N)[None, :, None] & (place < K)[:, None, :]
            numbers = tl.load(numbers, mask=where, other=0.0, eviction_policy="evict_first")
            sums = multiply(numbers, inputs, sums)
    if QUANTISED:  # of each plane's inputs the columns with that plane of the row
        own_plane = plane[None, None, :]
        sums = tl.where(own_plane == 0, sums, tl.where(own_plane == 1, sums1, sums2))
        sums = tl.where(own_plane == 3, sums3, sums)
    return tl.sum(sums, axis=2)


@triton.jit
def _chosen(scores, slot, EXPERTS: tl.constexpr, PADDED: tl.constexpr):
    """The expert with the `slot`-th largest of `scores` [EXPERTS], of equals the first."""
    e = tl.arange(0, PADDED)
    left = tl.load(scores + e, mask=e < EXPERTS, other=float("-inf"))
    best = tl.argmax(left, axis=0)
    for _ in range(slot):
        left = tl.where(e == best, float("-inf"), left)
        best = tl.argmax(left, axis=0)
    return tl.minimum(best, EXPERTS - 1)  # scores that are no numbers may lead anywhere


@triton.jit
def _gated(gate, up, alpha, limit, CLAMPED: tl.constexpr):
    """See `program.Experts` and `program.ClampedSwiglu`."""
    if CLAMPED:
        gate = tl.minimum(gate, limit)
        up = tl.minimum(tl.maximum(up, -limit), limit)
        return gate / (1.0 + tl.exp(-alpha * gate)) * (up + 1.0)
    return activated(gate, False) * up


@triton.jit(do_not_specialize=["n_rows"])
def up(
    x,
    w,
    scales,
    bias,
    scores,
    chosen,
    positions,
    next_x,
    n_rows,
    alpha,
    limit,
    K: tl.constexpr,
    N: tl.constexpr,
    EXPERTS: tl.constexpr,
    PADDED: tl.constexpr,
    TOP: tl.constexpr,
    QUANTISED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    CLAMPED: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    DEEP: tl.constexpr,
    STAGES: tl.constexpr,
    FIRST: tl.constexpr,
    PDL: tl.constexpr,
):
    """The gated products of each pick, as the down kernel wants them: next_x [ROWS * TOP, 2, N/2].

    `scores` [ROWS, EXPERTS] say what is chosen; it is written to `chosen` [ROWS, TOP], largest
    first. x [ROWS, 2, K]; of a row of the matrices [N, K] the even outputs are gates, the odd ups.
    """
    tile = tl.program_id(0) // (n_rows * TOP)
    pick = tl.program_id(0) % (n_rows * TOP)
    row, slot = pick // TOP, pick % TOP
    position = tl.load(positions + row)
    begin(PDL, FIRST)
    if position < 0:
        return
    expert = _chosen(scores + row * EXPERTS, slot, EXPERTS, PADDED)
    if tile == 0:
        tl.store(chosen + pick, expert)
    n = tile * BN + tl.arange(0, BN)
    part = tl.arange(0, PARTS)
    sums = _products(
        x,
        w,
        scales,
        expert + part * 0,
        row + part * 0,
        part,
        part >= 0,
        tile,
        K,
        N,
        QUANTISED,
        BN,
        PARTS,
        PARTS,
        DEEP,
        STAGES,
    )
    value = tl.sum(sums, axis=0)
    if HAS_BIAS:
        value += tl.load(bias + expert * N + n, mask=n < N, other=0.0)
    gate, up = tl.split(tl.reshape(value, [BN // 2, 2]))
    i = tile * (BN // 2) + tl.arange(0, BN // 2)
    made = _gated(gate, up, alpha, limit, CLAMPED)
    store_row(next_x + pick * N, made, i, i < N // 2, N // 2, QUANTISED)


@triton.jit
def _shares(
    scores,
    own,
    live,
    EXPERTS: tl.constexpr,
    PADDED: tl.constexpr,
    NORMALISED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """What each part's expert, with score `own`, counts; see `program.Route`.

    Each expert stands in `WIDE` parts one after the other.
    """
    top = tl.max(tl.where(live, own, float("-inf")), axis=0)
    power = tl.where(live, tl.exp(own - top), 0.0)
    if NORMALISED:
        is_first = tl.arange(0, own.shape[0]) % WIDE == 0
        return power / tl.sum(tl.where(is_first, power, 0.0), axis=0)
    e = tl.arange(0, PADDED)
    every = tl.load(scores + e, mask=e < EXPERTS, other=float("-inf"))
    return power / tl.sum(tl.exp(every - top), axis=0)


@triton.jit(do_not_specialize=["n_rows"])
def down(
    x,
    w,
    scales,
    bias,
    scores,
    chosen,
    positions,
    out,
    gamma,
    next_x,
    next_squares,
    n_rows,
    K: tl.constexpr,
    N: tl.constexpr,
    EXPERTS: tl.constexpr,
    PADDED: tl.constexpr,
    TOP: tl.constexpr,
    NORMALISED: tl.constexpr,
    QUANTISED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    NEXT: tl.constexpr,
    GROUP: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    WIDE: tl.constexpr,
    DEEP: tl.constexpr,
    STAGES: tl.constexpr,
    FIRST: tl.constexpr,
    PDL: tl.constexpr,
):
    """Add to out [ROWS, N] the sum of what the row's experts make, by what they count.

    `chosen` and `next_x`, here x [ROWS * TOP, 2, K], as `up` leaves them.
    With `NEXT` written as `products.linear` does. Of the parts, `WIDE` are of one expert.
    """
    tile, row = tl.program_id(0) // n_rows, tl.program_id(0) % n_rows
    n = tile * BN + tl.arange(0, BN)
    part = tl.arange(0, PARTS)
    slot = part // WIDE
    live = slot < TOP
    if NEXT:
        weight = tl.load(gamma + n, mask=n < N, other=0.0)
    position = tl.load(positions + row)
    begin(PDL, FIRST)
    if position < 0:
        return
    pick = row * TOP + slot
    expert = tl.load(chosen + pick, mask=live, other=0)
    own = tl.load(scores + row * EXPERTS + expert, mask=live, other=0.0)
    before = tl.load(out + row * N + n, mask=n < N, other=0.0)
    sums = _products(
        x,
        w,
        scales,
        expert,
        pick,
        part % WIDE,
        live,
        tile,
        K,
        N,
        QUANTISED,
        BN,
        PARTS,
        WIDE,
        DEEP,
        STAGES,
    )
    if HAS_BIAS:  # once for each expert
        where = (live & (part % WIDE == 0))[:, None] & (n < N)[None, :]
        sums += tl.load(bias + expert[:, None] * N + n[None, :], mask=where, other=0.0)
    share = _shares(scores + row * EXPERTS, own, live, EXPERTS, PADDED, NORMALISED, WIDE)
    value = tl.sum(sums * share[:, None], axis=0) + before
    tl.store(out + row * N + n, value, mask=n < N)
    if NEXT:
        store_split(next_x, value * weight, row, n, n < N, N, GROUP)
        squares = tl.where(n < N, value * value, 0.0)
        runs = sums_of_runs(squares[:, None], BN, 1)
        run = (tile * (BN // RUN) + tl.arange(0, BN // RUN))[:, None]
        tl.store(next_squares + run * ROWS + row, runs, mask=run * RUN < N)
