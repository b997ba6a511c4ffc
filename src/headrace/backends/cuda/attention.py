"""Attention of a few rows over the paged cache, split along the context over the whole machine.

A program is one row, one kv head and one split of the row's context: all query heads of the group
share what it reads. It turns its queries itself. Keys and values of this very step are read where
the product before left them, turned and rounded as the cache would hold them; the program whose
split holds the row's own position also writes them to the cache. So no program waits for another,
and a sequence may have several rows in a step. The last split of a row to end merges them all.

How a context is cut depends on the row's own length alone, and so do the row's bits.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl

from headrace.backends.cuda.chain import begin, multiply, rounded
from headrace.backends.cuda.products import store_split

SPLITS = tl.constexpr(32)  # chosen: the most a context is cut into
TILE = tl.constexpr(64)  # tokens read at a time, and the least a split has
BLOCK = tl.constexpr(16)  # base.BLOCK_TOKENS


@triton.jit
def _halves(values):
    high = rounded(values)
    return high, rounded(values - high.to(tl.float32))


@triton.jit
def _cached(
    keys,
    values,
    table,
    j,
    cached_end,
    kv_head,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    DH: tl.constexpr,
):
    """Keys and values of positions `j` below `cached_end`, in halves: four of [DH, TILE]."""
    d = tl.arange(0, DH)
    cached = j < cached_end
    block = tl.load(table + j // BLOCK, mask=cached, other=0).to(tl.int64)
    slot = (block * BLOCK + j % BLOCK) * (KV_HEADS * D) + kv_head * D
    at = slot[None, :] + d[:, None]
    where = (d < D // 2)[:, None] & cached[None, :]
    return (
        tl.load(keys + at, mask=where, other=0.0),
        tl.load(keys + at + D // 2, mask=where, other=0.0),
        tl.load(values + at, mask=where, other=0.0),
        tl.load(values + at + D // 2, mask=where, other=0.0),
    )


@triton.jit
def _fresh(
    k,
    v,
    k_stride,
    v_stride,
    cos,
    sin,
    row,
    j,
    where,
    kv_head,
    D: tl.constexpr,
    DH: tl.constexpr,
    TURNS: tl.constexpr,
):
    """The same of this step's rows `row`, which stand at positions `j`: turned and rounded."""
    d = tl.arange(0, DH)[:, None]
    key = k + row[None, :] * k_stride + kv_head * D + d
    value = v + row[None, :] * v_stride + kv_head * D + d
    k1 = tl.load(key, mask=where, other=0.0)
    k2 = tl.load(key + D // 2, mask=where, other=0.0)
    if TURNS:
        c = tl.load(cos + j[None, :] * (D // 2) + d, mask=where, other=1.0)
        s = tl.load(sin + j[None, :] * (D // 2) + d, mask=where, other=0.0)
        k1, k2 = k1 * c - k2 * s, k2 * c + k1 * s
    v1 = tl.load(value, mask=where, other=0.0)
    v2 = tl.load(value + D // 2, mask=where, other=0.0)
    return rounded(k1), rounded(k2), rounded(v1), rounded(v2)


@triton.jit
def _seen(q1_high, q1_low, q2_high, q2_low, k1, k2, v1, v2, seen, scale, top, total, sum1, sum2):
    """Take a tile into the running softmax: its maximum, its sum and the weighted values."""
    scores = multiply(q1_low, k1, tl.zeros([q1_low.shape[0], k1.shape[1]], tl.float32))
    scores = multiply(q2_low, k2, scores)
    scores = multiply(q1_high, k1, scores)
    scores = multiply(q2_high, k2, scores) * scale
    scores = tl.where(seen[None, :], scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, axis=1))
    power = tl.exp(scores - new_top[:, None])
    shrink = tl.exp(top - new_top)
    total = total * shrink + tl.sum(power, axis=1)
    high, low = _halves(power)
    v1, v2 = tl.trans(v1), tl.trans(v2)
    sum1 = multiply(high, v1, multiply(low, v1, sum1 * shrink[:, None]))
    sum2 = multiply(high, v2, multiply(low, v2, sum2 * shrink[:, None]))
    return new_top, total, sum1, sum2


@triton.jit
def attend(
    q,
    k,
    v,
    q_stride,
    k_stride,
    v_stride,
    positions,
    first_rows,
    sequences,
    tables,
    table_width,
    cos,
    sin,
    keys,
    values,
    out,
    next_x,
    partial,
    maxima,
    totals,
    arrived,
    sinks,
    scale,
    window,
    KV_HEADS: tl.constexpr,
    G: tl.constexpr,
    GP: tl.constexpr,
    G2: tl.constexpr,
    D: tl.constexpr,
    DH: tl.constexpr,
    TURNS: tl.constexpr,
    SINKS: tl.constexpr,
    NEXT: tl.constexpr,
    GROUP: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, heads * D], or split into `next_x`; see `program.Attend`, `Rope`, `AppendKv`.

    `first_rows` [ROWS]: which row is the first of the row's own sequence in this step. `window` 0:
    none. A row whose position is negative is none. With `SINKS` the first split starts with the
    head's sink, whose value is zero.

    What lies in the cache, and where, was written before the direct predecessor began, so the first
    tile is read before the wait.
    """
    t, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    HALF: tl.constexpr = D // 2
    N: tl.constexpr = KV_HEADS * G * D
    position = tl.load(positions + t)
    first_row = tl.load(first_rows + t)
    table = tables + tl.load(sequences + t).to(tl.int64) * table_width
    first = tl.where(window > 0, tl.maximum(0, position - window + 1), 0)
    length = position + 1 - first
    chunk = tl.maximum(TILE, tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE)
    splits = tl.cdiv(length, chunk)
    works = (position >= 0) & (split < splits)
    begin_at = first + split * chunk
    end_at = tl.where(works, tl.minimum(begin_at + chunk, position + 1), begin_at)
    cached_end = tl.minimum(position - (t - first_row), end_at)
    j = begin_at + tl.arange(0, TILE)
    k1, k2, v1, v2 = _cached(keys, values, table, j, cached_end, kv_head, KV_HEADS, D, DH)
    g, d = tl.arange(0, GP), tl.arange(0, DH)
    in_q = (g < G)[:, None] & (d < HALF)[None, :]
    if TURNS:
        place = tl.maximum(position, 0) * HALF + d
        c = tl.load(cos + place, mask=d < HALF, other=1.0)[None, :]
        s = tl.load(sin + place, mask=d < HALF, other=0.0)[None, :]
    begin(PDL)
    if works:
        query = q + t * q_stride + (kv_head * G + g)[:, None] * D + d[None, :]
        q1 = tl.load(query, mask=in_q, other=0.0)
        q2 = tl.load(query + HALF, mask=in_q, other=0.0)
        if TURNS:
            q1, q2 = q1 * c - q2 * s, q2 * c + q1 * s
        q1_high, q1_low = _halves(q1)
        q2_high, q2_low = _halves(q2)
        top = tl.full([GP], float("-inf"), tl.float32)
        total = tl.zeros([GP], tl.float32)
        if SINKS:
            sink = tl.load(sinks + kv_head * G + g, mask=g < G, other=0.0)
            top = tl.where(split == 0, sink, top)
            total = tl.where(split == 0, 1.0, total)
        sum1 = tl.zeros([GP, DH], tl.float32)
        sum2 = tl.zeros([GP, DH], tl.float32)
        for start in tl.range(begin_at, end_at, TILE):
            j = start + tl.arange(0, TILE)
            if start > begin_at:
                k1, k2, v1, v2 = _cached(
                    keys, values, table, j, cached_end, kv_head, KV_HEADS, D, DH
                )
            if start + TILE > cached_end:
                fresh = (j >= cached_end) & (j < end_at)
                row = tl.where(fresh, t - (position - j), t)
                where = (d < HALF)[:, None] & fresh[None, :]
                new1, new2, new3, new4 = _fresh(
                    k, v, k_stride, v_stride, cos, sin, row, j, where, kv_head, D, DH, TURNS
                )
                k1, k2 = tl.where(where, new1, k1), tl.where(where, new2, k2)
                v1, v2 = tl.where(where, new3, v1), tl.where(where, new4, v2)
            top, total, sum1, sum2 = _seen(
                q1_high,
                q1_low,
                q2_high,
                q2_low,
                k1,
                k2,
                v1,
                v2,
                j < end_at,
                scale,
                top,
                total,
                sum1,
                sum2,
            )
        if end_at == position + 1:  # the row's own key and value go into the cache
            own = position + tl.arange(0, 1)
            where = (d < HALF)[:, None] & (own == position)[None, :]
            new1, new2, new3, new4 = _fresh(
                k, v, k_stride, v_stride, cos, sin, t + own * 0, own, where, kv_head, D, DH, TURNS
            )
            block = tl.load(table + position // BLOCK).to(tl.int64)
            slot = (block * BLOCK + position % BLOCK) * (KV_HEADS * D) + kv_head * D
            at = slot + d[:, None]
            tl.store(keys + at, new1, mask=where)
            tl.store(keys + at + HALF, new2, mask=where)
            tl.store(values + at, new3, mask=where)
            tl.store(values + at + HALF, new4, mask=where)
        n = (kv_head * G + g)[:, None] * D + d[None, :]
        if splits == 1:
            result1, result2 = sum1 / total[:, None], sum2 / total[:, None]
            if NEXT:
                store_split(next_x, result1, t, n, in_q, N, GROUP)
                store_split(next_x, result2, t, n + HALF, in_q, N, GROUP)
            else:
                tl.store(out + t * N + n, result1, mask=in_q)
                tl.store(out + t * N + n + HALF, result2, mask=in_q)
        else:
            here = (t * KV_HEADS + kv_head) * SPLITS
            mine = (here + split) * G2
            tl.store(maxima + mine + g, top, mask=g < G)
            tl.store(totals + mine + g, total, mask=g < G)
            spot = (mine + g)[:, None] * (2 * DH) + d[None, :]
            tl.store(partial + spot, sum1, mask=in_q)
            tl.store(partial + spot + DH, sum2, mask=in_q)
            tl.debug_barrier()
            before = tl.atomic_add(arrived + t * KV_HEADS + kv_head, 1, sem="acq_rel")
            if before == splits - 1:
                tl.store(arrived + t * KV_HEADS + kv_head, 0)
                i, h = tl.arange(0, SPLITS), tl.arange(0, G2)
                there = (i < splits)[:, None] & (h < G)[None, :]
                each = (here + i)[:, None] * G2 + h[None, :]
                tops = tl.load(maxima + each, mask=there, other=0.0, cache_modifier=".cg")
                tops = tl.where((i < splits)[:, None], tops, float("-inf"))
                share = tl.exp(tops - tl.max(tops, axis=0)[None, :])
                own = tl.load(totals + each, mask=there, other=0.0, cache_modifier=".cg")
                whole = tl.sum(share * own, axis=0)
                whole = tl.where(h < G, whole, 1.0)
                three = there[:, :, None] & (d < HALF)[None, None, :]
                spots = each[:, :, None] * (2 * DH) + d[None, None, :]
                part = tl.load(partial + spots, mask=three, other=0.0, cache_modifier=".cg")
                merged1 = tl.sum(share[:, :, None] * part, axis=0) / whole[:, None]
                part = tl.load(partial + spots + DH, mask=three, other=0.0, cache_modifier=".cg")
                merged2 = tl.sum(share[:, :, None] * part, axis=0) / whole[:, None]
                in_h = (h < G)[:, None] & (d < HALF)[None, :]
                m = (kv_head * G + h)[:, None] * D + d[None, :]
                if NEXT:
                    store_split(next_x, merged1, t, m, in_h, N, GROUP)
                    store_split(next_x, merged2, t, m + HALF, in_h, N, GROUP)
                else:
                    tl.store(out + t * N + m, merged1, mask=in_h)
                    tl.store(out + t * N + m + HALF, merged2, mask=in_h)
