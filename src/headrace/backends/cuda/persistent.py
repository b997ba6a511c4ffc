"""The products between two attentions as one kernel that stays: o, gate and up, down, next q, k, v.

One program per multiprocessor, all there at once. Each has a ring of pieces of weights in shared
memory and asks for the next piece as soon as one is used, whatever product it belongs to: so the
memory streams on while a product's end, the programs' meeting and the next product's beginning
pass. Weights are all it reads ahead; nobody writes them. The inputs of a single row are brought to
shared memory at once when a product begins (`_bring`); those of several rows find no room there.

A piece is `TILE` outputs by `PIECE` inputs of one matrix, a warp per `PART` inputs. A program's
tiles of a product are `pid`, `pid + programs`, ...; a tile's pieces follow each other, gate's and
up's take turns. So a piece's number says where it lies (`_copy`): whatever else is read from
memory waits behind all that is on the way into the rings, some five microseconds.

Rows are as in `products`: two bf16 each, a norm's factor applied to the outputs, sums of squares in
runs of `TILE`. Every row is summed in the same order whoever stands beside it.

Written in Gluon, Triton's dialect with explicit layouts: the interpreter does not know it, so only
a card runs it; there it replaces launches that the interpreter does run (`persistent_chains`).
"""
# pyright: basic, reportMissingImports=false

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, mma_v2, tma
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

WARPS = gl.constexpr(8)
TILE = gl.constexpr(16)  # outputs of a piece, and products.RUN
PART = gl.constexpr(128)  # inputs a warp multiplies of a piece
PIECE = gl.constexpr(1024)  # WARPS * PART
MOST_ROWS = gl.constexpr(16)  # products.ROWS

_MMA = gl.constexpr(
    gl.NVMMADistributedLayout(version=[2, 0], warps_per_cta=[8, 1, 1], instr_shape=[1, 16, 8])
)
# Eight inputs that follow each other are one load of a thread, of weights as of rows; the tensor
# cores are given them in another order of inputs, the same for both.
_WEIGHTS = gl.constexpr(gl.DotOperandLayout(0, _MMA.value, 8))
_INPUTS = gl.constexpr(gl.DotOperandLayout(1, _MMA.value, 8))
_OUT = gl.constexpr(gl.SliceLayout(0, _MMA.value))  # [TILE, rows]
PIECE_LAYOUT = gl.constexpr(gl.NVMMASharedLayout(128, 16, rank=3))
PIECE_BYTES = gl.constexpr(1024 * 16 * 2)
_FLAT = gl.constexpr(gl.BlockedLayout([1, 4], [16, 2], [8, 1], [1, 0]))
# A row's inputs on their way to shared memory, [parts, PART], and as they lie there.
_WAY = gl.constexpr(gl.BlockedLayout([1, 8], [2, 16], [8, 1], [1, 0]))
_PLAIN = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [1, 0]))
_NEAR = gl.constexpr(gl.SliceLayout(2, _INPUTS.value))


@gluon.jit
def _tiles(outputs: gl.constexpr):
    """How many tiles of a product of so many outputs are this program's."""
    return gl.cdiv(outputs // TILE - gl.program_id(0), gl.num_programs(0))


@gluon.jit
def _copy(ring, full, weights, at, i, TURN: gl.constexpr, K: gl.constexpr, RING: gl.constexpr):
    """Let the copy engine fetch piece `i` of a product's pieces of this program, which is piece
    `at` of all: a tile's pieces, by turns of `TURN` matrices."""
    tile = gl.program_id(0) + i // (TURN * (K // PIECE)) * gl.num_programs(0)
    piece = i % (TURN * (K // PIECE)) // TURN
    place = [piece * WARPS, tile * TILE, 0]
    tma.async_copy_global_to_shared(weights, place, full.index(at % RING), ring.index(at % RING))


@gluon.jit
def _ask(
    ring,
    full,
    at,
    weights,
    firsts,
    H: gl.constexpr,
    MIXED: gl.constexpr,
    INNER: gl.constexpr,
    HAS_MIDDLE: gl.constexpr,
    RING: gl.constexpr,
):
    """Ask for piece `at`, if this program has it, to be put into its place in the ring.

    `weights`: o, gate, up, down, and q, k, v; `firsts`: the first pieces of gate, of down and of
    q, k, v, and how many there are.
    """
    mbarrier.expect(full.index(at % RING), PIECE_BYTES, pred=at < firsts[3])
    if HAS_MIDDLE:
        if at < firsts[0]:
            _copy(ring, full, weights[0], at, at, 1, MIXED, RING)
        elif at < firsts[1]:
            i = at - firsts[0]
            if i % 2 == 0:
                _copy(ring, full, weights[1], at, i, 2, H, RING)
            else:
                _copy(ring, full, weights[2], at, i, 2, H, RING)
        elif at < firsts[2]:
            _copy(ring, full, weights[3], at, at - firsts[1], 1, INNER, RING)
        elif at < firsts[3]:
            _copy(ring, full, weights[4], at, at - firsts[2], 1, H, RING)
    elif at < firsts[3]:
        _copy(ring, full, weights[4], at, at, 1, H, RING)


@gluon.jit
def _inputs(x, piece, n_rows, K: gl.constexpr, GROUP: gl.constexpr, COLUMNS: gl.constexpr):
    """High and low parts of a piece's inputs of all rows: two of [WARPS, PART, COLUMNS]."""
    part = gl.arange(0, WARPS, gl.SliceLayout(1, gl.SliceLayout(2, _INPUTS)))
    k = gl.arange(0, PART, gl.SliceLayout(0, gl.SliceLayout(2, _INPUTS)))
    row = gl.arange(0, COLUMNS, gl.SliceLayout(0, gl.SliceLayout(1, _INPUTS)))
    live = (row < n_rows)[None, None, :]
    columns = (row // GROUP) * (2 * GROUP * K) + (row % GROUP) * K
    places = (part[:, None] * PART + k[None, :])[:, :, None] + columns[None, None, :]
    high = x + piece * PIECE + places
    return gl.load(high, mask=live, other=0.0), gl.load(high + GROUP * K, mask=live, other=0.0)


@gluon.constexpr_function
def padded_pieces(inputs):
    """Pieces of a row of so many inputs, up to a power of two."""
    return 1 << (inputs // PIECE.value - 1).bit_length()


@gluon.constexpr_function
def _longest(first, second, third):
    return max(first, second, third)


@gluon.jit
def _bring(near, x, K: gl.constexpr, GROUP: gl.constexpr):
    """Copy the first row, its high and then its low parts, to `near`, [pieces, WARPS, PART]."""
    PARTS: gl.constexpr = padded_pieces(K) * WARPS
    place = gl.arange(0, 2 * PARTS, gl.SliceLayout(1, _WAY))
    part = place % PARTS
    k = gl.arange(0, PART, gl.SliceLayout(0, _WAY))
    places = (place // PARTS * (GROUP * K) + part * PART)[:, None] + k[None, :]
    is_there = (part < K // PART)[:, None] & (k >= 0)[None, :]
    found = gl.load(x + places, mask=is_there, other=0.0, cache_modifier=".cg")
    near._reinterpret(gl.bfloat16, [2 * PARTS, PART], _PLAIN).store(found)


@gluon.jit
def _brought(near, piece, K: gl.constexpr, COLUMNS: gl.constexpr):
    """As `_inputs`, of what `_bring` brought: the first row in every column."""
    like = gl.zeros([WARPS, PART, COLUMNS], gl.bfloat16, _INPUTS)
    high = near.index(piece).load(_NEAR)
    low = near.index(padded_pieces(K) + piece).load(_NEAR)
    high, _ = gl.broadcast(gl.expand_dims(high, 2), like)
    low, _ = gl.broadcast(gl.expand_dims(low, 2), like)
    return high, low


@gluon.jit
def _first_inputs(
    near,
    x,
    n_rows,
    K: gl.constexpr,
    GROUP: gl.constexpr,
    COLUMNS: gl.constexpr,
    SINGLE: gl.constexpr,
):
    """The inputs of the first piece; with `SINGLE`, all inputs are brought to `near`."""
    if SINGLE:
        _bring(near, x, K, GROUP)
        return _brought(near, 0, K, COLUMNS)
    else:  # noqa: RET505 - the compiler looks at both otherwise
        return _inputs(x, 0, n_rows, K, GROUP, COLUMNS)


@gluon.jit
def _next(
    ring,
    full,
    at,
    weights,
    firsts,
    H: gl.constexpr,
    MIXED: gl.constexpr,
    INNER: gl.constexpr,
    HAS_MIDDLE: gl.constexpr,
    RING: gl.constexpr,
):
    """Piece `at`, which is due, [WARPS, TILE, PART], once it is there; piece `at + RING` is asked
    for in its place. And the number of the next piece."""
    mbarrier.wait(full.index(at % RING), at // RING % 2)
    found = ring.index(at % RING).load(_WEIGHTS)
    gl.thread_barrier()  # all have read it
    _ask(ring, full, at + RING, weights, firsts, H, MIXED, INNER, HAS_MIDDLE, RING)
    return found, at + 1


@gluon.jit
def _tile(
    ring,
    full,
    at,
    weights,
    firsts,
    near,
    x,
    high,
    low,
    n_rows,
    K: gl.constexpr,
    MATRICES: gl.constexpr,
    H: gl.constexpr,
    MIXED: gl.constexpr,
    INNER: gl.constexpr,
    HAS_MIDDLE: gl.constexpr,
    GROUP: gl.constexpr,
    COLUMNS: gl.constexpr,
    SINGLE: gl.constexpr,
    RING: gl.constexpr,
):
    """A tile of outputs of all rows, of each of one or two matrices [TILE, COLUMNS], and what is to
    be handed to the next call: how far the program has come, and the first inputs again.

    `high` and `low` are `_inputs` of the first piece.
    """
    highs = gl.zeros([WARPS, TILE, COLUMNS], gl.float32, _MMA)
    lows, other_highs, other_lows = highs, highs, highs
    for piece in range(K // PIECE):
        a, at = _next(ring, full, at, weights, firsts, H, MIXED, INNER, HAS_MIDDLE, RING)
        following = gl.where(piece == K // PIECE - 1, 0, piece + 1)
        if SINGLE:
            next_high, next_low = _brought(near, following, K, COLUMNS)
        else:
            next_high, next_low = _inputs(x, following, n_rows, K, GROUP, COLUMNS)
        highs = mma_v2(a, high, highs)
        lows = mma_v2(a, low, lows)
        if MATRICES == 2:
            a, at = _next(ring, full, at, weights, firsts, H, MIXED, INNER, HAS_MIDDLE, RING)
            other_highs = mma_v2(a, high, other_highs)
            other_lows = mma_v2(a, low, other_lows)
        high, low = next_high, next_low
    first = gl.sum(highs + lows, axis=0)
    second = first
    if MATRICES == 2:
        second = gl.sum(other_highs + other_lows, axis=0)
    return first, second, at, high, low


@gluon.jit
def _factor(squares, n_rows, eps, K: gl.constexpr, RUNS: gl.constexpr, PADDED: gl.constexpr):
    """1 / rms of all rows, of the sums of squares of `RUNS` runs: [MOST_ROWS]."""
    run = gl.arange(0, PADDED, gl.SliceLayout(1, _FLAT))
    row = gl.arange(0, MOST_ROWS, gl.SliceLayout(0, _FLAT))
    where = (run < RUNS)[:, None] & (row < n_rows)[None, :]
    places = squares + run[:, None] * MOST_ROWS + row[None, :]
    found = gl.load(places, mask=where, other=0.0, cache_modifier=".cg")
    return 1.0 / gl.sqrt(gl.sum(found, axis=0) / K + eps)


@gluon.jit
def _own_rows(factor, COLUMNS: gl.constexpr):
    """`factor` of the first `COLUMNS` rows, along the outputs' rows: [1, COLUMNS]."""
    if COLUMNS < MOST_ROWS:
        halves = gl.reshape(factor, [MOST_ROWS // COLUMNS, COLUMNS])
        lane = gl.arange(0, MOST_ROWS // COLUMNS, gl.SliceLayout(1, halves.type.layout))
        factor = gl.sum(gl.where((lane == 0)[:, None], halves, 0.0), axis=0)
    return gl.convert_layout(factor, gl.SliceLayout(0, _OUT))[None, :]


@gluon.jit
def _store_split(split, value, row, n, where, N: gl.constexpr, GROUP: gl.constexpr):
    """As `products.store_split`."""
    high = value.to(gl.bfloat16)
    low = (value - high.to(gl.float32)).to(gl.bfloat16)
    place = (row // GROUP) * (2 * GROUP * N) + (row % GROUP) * N + n
    gl.store(split + place, high, mask=where)
    gl.store(split + place + GROUP * N, low, mask=where)


# The first thread counts its program in, and looks until all are. $1: the counter, $2: how many.
_MEETING = gl.constexpr("""
{
    .reg .pred p;
    .reg .u32 t;
    .reg .u64 now, rest, count;
    mov.u32 t, %tid.x;
    setp.ne.u32 p, t, 0;
    @p bra MET;
    fence.acq_rel.gpu;
    atom.add.relaxed.gpu.global.u64 now, [$1], 1;
    cvt.u64.u32 count, $2;
    rem.u64 rest, now, count;
    sub.u64 now, now, rest;
    add.u64 now, now, count;
LOOK:
    ld.acquire.gpu.global.u64 rest, [$1];
    setp.lt.u64 p, rest, now;
    @p bra LOOK;
    fence.acq_rel.gpu;
MET:
    mov.u32 $0, 0;
}
""")


@gluon.jit
def _meet(counter):
    """Wait until every program is here; what each wrote before, all see after."""
    gl.thread_barrier()
    gl.inline_asm_elementwise(
        _MEETING,
        "=r,l,r",
        [counter, gl.num_programs(0)],
        dtype=gl.int32,
        is_pure=False,
        pack=1,
    )
    gl.thread_barrier()


@gluon.jit
def _added(
    ring,
    full,
    at,
    weights,
    firsts,
    near,
    x,
    h,
    gamma,
    next_x,
    next_squares,
    n_rows,
    K: gl.constexpr,
    H: gl.constexpr,
    MIXED: gl.constexpr,
    INNER: gl.constexpr,
    GROUP: gl.constexpr,
    COLUMNS: gl.constexpr,
    SINGLE: gl.constexpr,
    RING: gl.constexpr,
):
    """h [rows, H] += x @ w.T, and as the next product wants it; see `products.linear`."""
    out_n = gl.arange(0, TILE, gl.SliceLayout(1, _OUT))[:, None]
    rows = gl.arange(0, COLUMNS, gl.SliceLayout(0, _OUT))
    row = rows[None, :]
    where = (row < n_rows) & (out_n >= 0)
    high, low = _first_inputs(near, x, n_rows, K, GROUP, COLUMNS, SINGLE)
    for tile in range(gl.program_id(0), H // TILE, gl.num_programs(0)):
        n = tile * TILE + out_n
        before = gl.load(h + row * H + n, mask=where, other=0.0, cache_modifier=".cg")
        weight = gl.load(gamma + n)
        value, _, at, high, low = _tile(
            ring, full, at, weights, firsts, near, x, high, low, n_rows,
            K, 1, H, MIXED, INNER, True, GROUP, COLUMNS, SINGLE, RING,
        )  # fmt: skip
        value += before
        gl.store(h + row * H + n, value, mask=where)
        _store_split(next_x, value * weight, row, n, where, H, GROUP)
        runs = gl.sum(gl.where(where, value * value, 0.0), axis=0)
        gl.store(next_squares + tile * MOST_ROWS + rows, runs, mask=rows < n_rows)
    return at


@gluon.jit
def _warm(gamma, H: gl.constexpr):
    """Bring this program's part of a norm's weight near, before the memory has a queue."""
    for tile in range(gl.program_id(0), H // TILE, gl.num_programs(0)):
        gl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.b32 $0, 0;",
            "=r,l",
            [gamma + tile * TILE],
            dtype=gl.int32,
            is_pure=False,
            pack=1,
        )


@gluon.jit
def _activated(gate, GELU: gl.constexpr):
    """As `products._activated`."""
    if GELU:
        y = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        return gate * (1.0 - 1.0 / (gl.exp(2.0 * y) + 1.0))
    else:  # noqa: RET505 - the compiler looks at both otherwise
        return gate / (1.0 + gl.exp(-gate))


@gluon.jit(do_not_specialize=["n_rows"])
def chain(
    w_o,
    w_gate,
    w_up,
    w_down,
    w_qkv,
    counters,
    mixed,
    h,
    split,
    squares,
    inner,
    gamma_middle,
    gamma_next,
    qkv,
    qkv_bias,
    first_squares,
    n_rows,
    eps_middle,
    eps_next,
    H: gl.constexpr,
    MIXED: gl.constexpr,
    INNER: gl.constexpr,
    QKV: gl.constexpr,
    HAS_MIDDLE: gl.constexpr,
    HAS_QKV: gl.constexpr,
    HAS_BIAS: gl.constexpr,
    FIRST_RUNS: gl.constexpr,
    PADDED: gl.constexpr,
    GELU: gl.constexpr,
    GROUP: gl.constexpr,
    COLUMNS: gl.constexpr,
    SINGLE: gl.constexpr,
    RING: gl.constexpr,
    FIRST: gl.constexpr,
    PDL: gl.constexpr,
):
    """`HAS_MIDDLE`: h += o(mixed); inner = f(gate) * up; h += down(inner). `HAS_QKV`: q, k, v.

    mixed, split and inner are split rows of `MIXED`, `H` and `INNER` inputs; h [ROWS, H] and qkv
    [ROWS, QKV] float32; squares in runs of `TILE`, first_squares in `FIRST_RUNS` runs for a chain
    that begins with q, k, v.
    """
    pid = gl.program_id(0)
    first_gated = 0
    first_down = 0
    first_qkv = 0
    if HAS_MIDDLE:
        first_gated = _tiles(H) * (MIXED // PIECE)
        first_down = first_gated + _tiles(INNER) * (2 * (H // PIECE))
        first_qkv = first_down + _tiles(H) * (INNER // PIECE)
        _warm(gamma_middle, H)
        _warm(gamma_next, H)
    count = first_qkv
    if HAS_QKV:
        count = first_qkv + _tiles(QKV) * (H // PIECE)
    weights = (w_o, w_gate, w_up, w_down, w_qkv)
    firsts = (first_gated, first_down, first_qkv, count)
    ring = gl.allocate_shared_memory(gl.bfloat16, [RING, WARPS, TILE, PART], PIECE_LAYOUT)
    full = gl.allocate_shared_memory(gl.int64, [RING, 1], mbarrier.MBarrierLayout())
    pieces: gl.constexpr = 2 * padded_pieces(_longest(H, MIXED, INNER)) if SINGLE else 1
    near = gl.allocate_shared_memory(gl.bfloat16, [pieces, WARPS, PART], _PLAIN)
    for piece in gl.static_range(RING):
        mbarrier.init(full.index(piece), count=1)
    for piece in range(RING):
        _ask(ring, full, piece, weights, firsts, H, MIXED, INNER, HAS_MIDDLE, RING)
    at = 0
    if PDL:
        if FIRST:
            gdc_launch_dependents()
        gdc_wait()
        if not FIRST:
            gdc_launch_dependents()
    out_n = gl.arange(0, TILE, gl.SliceLayout(1, _OUT))[:, None]
    row = gl.arange(0, COLUMNS, gl.SliceLayout(0, _OUT))[None, :]
    where = (row < n_rows) & (out_n >= 0)
    if HAS_MIDDLE:
        at = _added(
            ring, full, at, weights, firsts, near, mixed, h, gamma_middle, split, squares, n_rows,
            MIXED, H, MIXED, INNER, GROUP, COLUMNS, SINGLE, RING,
        )  # fmt: skip
        _meet(counters)
        high, low = _first_inputs(near, split, n_rows, H, GROUP, COLUMNS, SINGLE)
        factor = _own_rows(_factor(squares, n_rows, eps_middle, H, H // TILE, PADDED), COLUMNS)
        for tile in range(pid, INNER // TILE, gl.num_programs(0)):
            gate, up, at, high, low = _tile(
                ring, full, at, weights, firsts, near, split, high, low, n_rows,
                H, 2, H, MIXED, INNER, HAS_MIDDLE, GROUP, COLUMNS, SINGLE, RING,
            )  # fmt: skip
            value = _activated(gate * factor, GELU) * (up * factor)
            _store_split(inner, value, row, tile * TILE + out_n, where, INNER, GROUP)
        _meet(counters + 16)
        at = _added(
            ring, full, at, weights, firsts, near, inner, h, gamma_next, split, squares, n_rows,
            INNER, H, MIXED, INNER, GROUP, COLUMNS, SINGLE, RING,
        )  # fmt: skip
    if HAS_QKV:
        if HAS_MIDDLE:
            _meet(counters + 32)
        high, low = _first_inputs(near, split, n_rows, H, GROUP, COLUMNS, SINGLE)
        if HAS_MIDDLE:
            found = _factor(squares, n_rows, eps_next, H, H // TILE, PADDED)
        else:
            found = _factor(first_squares, n_rows, eps_next, H, FIRST_RUNS, PADDED)
        factor = _own_rows(found, COLUMNS)
        for tile in range(pid, QKV // TILE, gl.num_programs(0)):
            value, _, at, high, low = _tile(
                ring, full, at, weights, firsts, near, split, high, low, n_rows,
                H, 1, H, MIXED, INNER, HAS_MIDDLE, GROUP, COLUMNS, SINGLE, RING,
            )  # fmt: skip
            value *= factor
            n = tile * TILE + out_n
            if HAS_BIAS:
                value += gl.load(qkv_bias + n)
            gl.store(qkv + row * QKV + n, value, mask=where)
