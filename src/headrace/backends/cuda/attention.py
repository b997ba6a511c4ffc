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
    scale,
    window,
    KV_HEADS: tl.constexpr,
    G: tl.constexpr,
    GP: tl.constexpr,
    G2: tl.constexpr,
    D: tl.constexpr,
    DH: tl.constexpr,
    TURNS: tl.constexpr,
    NEXT: tl.constexpr,
    PDL: tl.constexpr,
):
    """out [ROWS, heads * D], or split into `next_x`; see `program.Attend`, `Rope`, `AppendKv`.

    `first_rows` [ROWS]: which row is the first of the row's own sequence in this step. `window` 0:
    none. A row whose position is negative is none.
    """
    t, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    begin(PDL)
    position = tl.load(positions + t)
    first = tl.where(window > 0, tl.maximum(0, position - window + 1), 0)
    length = position + 1 - first
    chunk = tl.maximum(TILE, tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE)
    splits = tl.cdiv(length, chunk)
    if (position >= 0) & (split < splits):
        cached_end = position - (t - tl.load(first_rows + t))
        table = tables + tl.load(sequences + t).to(tl.int64) * table_width
        HALF: tl.constexpr = D // 2
        WIDTH: tl.constexpr = KV_HEADS * D
        g, d = tl.arange(0, GP), tl.arange(0, DH)
        in_q = (g < G)[:, None] & (d < HALF)[None, :]
        query = q + t * q_stride + (kv_head * G + g)[:, None] * D + d[None, :]
        q1 = tl.load(query, mask=in_q, other=0.0)
        q2 = tl.load(query + HALF, mask=in_q, other=0.0)
        if TURNS:
            c = tl.load(cos + position * HALF + d, mask=d < HALF, other=1.0)[None, :]
            s = tl.load(sin + position * HALF + d, mask=d < HALF, other=0.0)[None, :]
            q1, q2 = q1 * c - q2 * s, q2 * c + q1 * s
        q1_high, q1_low = _halves(q1)
        q2_high, q2_low = _halves(q2)
        top = tl.full([GP], float("-inf"), tl.float32)
        total = tl.zeros([GP], tl.float32)
        sum1 = tl.zeros([GP, DH], tl.float32)
        sum2 = tl.zeros([GP, DH], tl.float32)
        begin_at = first + split * chunk
        end_at = tl.minimum(begin_at + chunk, position + 1)
        for start in tl.range(begin_at, end_at, TILE):
            j = start + tl.arange(0, TILE)
            seen = j < end_at
            cached = j < tl.minimum(cached_end, end_at)
            block = tl.load(table + j // BLOCK, mask=cached, other=0)
            slot = (block.to(tl.int64) * BLOCK + j % BLOCK) * WIDTH + kv_head * D
            from_cache = (d < HALF)[:, None] & cached[None, :]
            at = slot[None, :] + d[:, None]
            k1 = tl.load(keys + at, mask=from_cache, other=0.0)
            k2 = tl.load(keys + at + HALF, mask=from_cache, other=0.0)
            v1 = tl.load(values + at, mask=from_cache, other=0.0)
            v2 = tl.load(values + at + HALF, mask=from_cache, other=0.0)
            if start + TILE > cached_end:
                fresh = seen & (j >= cached_end)
                row = tl.where(fresh, t - (position - j), t)
                is_fresh = (d < HALF)[:, None] & fresh[None, :]
                place = kv_head * D + d[:, None]
                new1 = tl.load(k + row[None, :] * k_stride + place, mask=is_fresh, other=0.0)
                new2 = tl.load(k + row[None, :] * k_stride + place + HALF, mask=is_fresh, other=0.0)
                if TURNS:
                    angle = j[None, :] * HALF + d[:, None]
                    c_new = tl.load(cos + angle, mask=is_fresh, other=1.0)
                    s_new = tl.load(sin + angle, mask=is_fresh, other=0.0)
                    new1, new2 = new1 * c_new - new2 * s_new, new2 * c_new + new1 * s_new
                value = v + row[None, :] * v_stride + place
                new3 = tl.load(value, mask=is_fresh, other=0.0)
                new4 = tl.load(value + HALF, mask=is_fresh, other=0.0)
                k1 = tl.where(is_fresh, rounded(new1), k1)
                k2 = tl.where(is_fresh, rounded(new2), k2)
                v1 = tl.where(is_fresh, rounded(new3), v1)
                v2 = tl.where(is_fresh, rounded(new4), v2)
                own = is_fresh & (j == position)[None, :]
                own_block = tl.load(table + position // BLOCK).to(tl.int64)
                own_slot = (own_block * BLOCK + position % BLOCK) * WIDTH + place
                own_at = own_slot + tl.zeros_like(at)
                tl.store(keys + own_at, k1, mask=own)
                tl.store(keys + own_at + HALF, k2, mask=own)
                tl.store(values + own_at, v1, mask=own)
                tl.store(values + own_at + HALF, v2, mask=own)
            scores = multiply(q1_low, k1, tl.zeros([GP, TILE], tl.float32))
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
            top = new_top
        n = (kv_head * G + g)[:, None] * D + d[None, :]
        N: tl.constexpr = KV_HEADS * G * D
        if splits == 1:
            result1, result2 = sum1 / total[:, None], sum2 / total[:, None]
            if NEXT:
                store_split(next_x, result1, t, n, in_q, N)
                store_split(next_x, result2, t, n + HALF, in_q, N)
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
                    store_split(next_x, merged1, t, m, in_h, N)
                    store_split(next_x, merged2, t, m + HALF, in_h, N)
                else:
                    tl.store(out + t * N + m, merged1, mask=in_h)
                    tl.store(out + t * N + m + HALF, merged2, mask=in_h)
