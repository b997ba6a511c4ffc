"""The operations one by one, on library kernels: for many rows, and for what no kernel fuses.

Products take their inputs rounded to bf16 and accumulate in float32; all else is float32, the cache
bf16. See `backends.reference` for what each operation means.
"""
# pyright: basic, reportMissingImports=false

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.cuda.memory import Memory
from headrace.errors import KernelMissing
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    ClampedSwiglu,
    Embed,
    Experts,
    Head,
    HeadLinear,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Route,
    Tap,
    op_weights,
    variations,
)

# The optional fields of each operation that are built here.
_KNOWN: Mapping[type[Op], frozenset[str]] = {
    Embed: frozenset({"scale"}),
    Norm: frozenset({"offset", "heads", "rest"}),
    Linear: frozenset({"bias"}),
    HeadLinear: frozenset({"transposed"}),
    Rope: frozenset({"part", "interleaved", "scale"}),
    Attend: frozenset({"window", "value_dim", "sinks"}),
    Activate: frozenset({"function"}),
    Route: frozenset({"normalised"}),
    Experts: frozenset({"biases", "clamp"}),
}

# Chosen: scores of all heads that library kernels may hold at once, half a gigabyte in bf16.
MOST_SCORES = 1 << 28

Buffers = Mapping[str, torch.Tensor]  # name -> [T, width] float32; views of larger ones, maybe


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Rows `first`..`end` - 1 of a batch: one sequence's, at `position` and on."""

    first: int
    end: int
    position: int
    slots: torch.Tensor  # int64, of positions 0 to that of the last row

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.first, self.end)

    def part(self, first: int, end: int) -> "Sequence":
        """Of its rows those from `first` to `end` - 1."""
        position = self.position + first - self.first
        slots = self.slots[: position + end - first]
        return Sequence(first=first, end=end, position=position, slots=slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the operations must know of a batch."""

    token_ids: torch.Tensor  # [T] int64
    positions: torch.Tensor  # [T] int64
    sequences: tuple[Sequence, ...] = ()


def check_known(program: Program) -> None:
    """Raise KernelMissing when the program asks for what is not built here."""
    for op in program.ops:
        unknown = sorted(variations(op) - _KNOWN.get(type(op), frozenset()))
        parts = any(w.scales or w.stack or w.transposed or w.row_step > 1 for w in op_weights(op))
        parts = parts and not isinstance(op, Experts)
        if unknown or parts:
            name = type(op).__name__
            what = f"'{unknown[0]}' of {name}" if unknown else f"packed matrices of {name}"
            raise KernelMissing(
                f"The cuda backend has no {what} yet, which {program.architecture} needs: "
                "serve it with 'engine.backend' cpu."
            )


class Operations:
    """Runs single operations of a program."""

    def __init__(self, program: Program, memory: Memory) -> None:
        self._program = program
        self._memory = memory

    def run(self, op: Op, buffers: Buffers, rows: Rows | None) -> None:
        """Run `op`; only Embed, Rope, AppendKv and Attend look at `rows`."""
        match op:
            case Add():
                buffers[op.out].add_(buffers[op.inp])
            case Norm():
                self._norm(op, buffers)
            case Linear():
                product = times(buffers[op.inp], self._memory.matrix(op.weight))
                bias = 0 if op.bias is None else self._memory.vector(op.bias)
                buffers[op.out].copy_(product + bias)
            case HeadLinear():
                self._head_linear(op, buffers)
            case Activate():
                gate = buffers[op.gate]
                is_silu = op.function == "silu"
                made = (
                    functional.silu(gate) if is_silu else functional.gelu(gate, approximate="tanh")
                )
                buffers[op.out].copy_(made * buffers[op.up])
            case Route():
                _route(op, buffers[op.inp], buffers[op.out])
            case Experts():
                self._experts(op, buffers)
            case Tap() | Head():
                pass  # the caller reads what they name
            case Embed() | Rope() | AppendKv() | Attend():
                assert rows is not None
                self._placed(op, buffers, rows)

    def _placed(self, op: Embed | Rope | AppendKv | Attend, buffers: Buffers, rows: Rows) -> None:
        match op:
            case Embed():
                table = self._memory.matrix(op.table)
                ids = rows.token_ids.to(table.device)
                buffers[op.out].copy_(table[ids].float() * op.scale)
            case Rope():
                self._rope(op, buffers[op.buffer], rows.positions)
            case AppendKv():
                for sequence in rows.sequences:
                    own = sequence.slots[sequence.position :]
                    self._memory.keys[op.layer][own] = buffers[op.k][sequence.rows].bfloat16()
                    if op.v is not None:
                        self._memory.values[op.layer][own] = buffers[op.v][sequence.rows].bfloat16()
            case Attend():
                for sequence in rows.sequences:
                    self._attend(op, buffers, sequence)

    def _norm(self, op: Norm, buffers: Buffers) -> None:
        whole = buffers[op.inp].reshape(len(buffers[op.inp]), op.heads, -1)
        width = whole.shape[-1] - op.rest
        x = whole[..., :width]
        scale = torch.rsqrt((x * x).mean(-1, keepdim=True) + op.eps)
        normed = x * scale * self._memory.vector(op.weight, op.offset)
        made = torch.cat([normed, whole[..., width:]], dim=-1) if op.rest else normed
        buffers[op.out].copy_(made.reshape(buffers[op.out].shape))

    def _head_linear(self, op: HeadLinear, buffers: Buffers) -> None:
        inp, out = buffers[op.inp], buffers[op.out]
        heads = len(op.weights)
        x = inp.reshape(len(inp), heads, -1)
        made: list[torch.Tensor] = []
        for head, weight in enumerate(op.weights):
            matrix = self._memory.matrix(weight)
            matrix = matrix.T if op.transposed else matrix
            part = x[:, head]
            made.append(times(part[:, : matrix.shape[1]], matrix))
            made.append(part[:, matrix.shape[1] :])
        out.copy_(torch.cat(made, dim=-1))

    def _rope(self, op: Rope, rows: torch.Tensor, positions: torch.Tensor) -> None:
        cos, sin = (table[positions][:, None] for table in self._memory.rotation(op))
        first, width = (0, op.head_dim) if op.part is None else op.part
        heads = rows.unflatten(-1, (op.heads, op.head_dim))
        x = heads[..., first : first + width]
        if op.interleaved:
            x1, x2 = x[..., 0::2], x[..., 1::2]
        else:
            x1, x2 = x[..., : width // 2], x[..., width // 2 :]
        turned1, turned2 = x1 * cos - x2 * sin, x2 * cos + x1 * sin
        x1.copy_(turned1)
        x2.copy_(turned2)

    def _attend(self, op: Attend, buffers: Buffers, sequence: Sequence) -> None:
        count = max(1, MOST_SCORES // (op.heads * len(sequence.slots)))
        for first in range(sequence.first, sequence.end, count):
            self._attend_rows(op, buffers, sequence.part(first, min(first + count, sequence.end)))

    def _attend_rows(self, op: Attend, buffers: Buffers, sequence: Sequence) -> None:
        spec = self._program.kv[op.layer]
        first = 0 if op.window is None else max(0, sequence.position - op.window + 1)
        slots = sequence.slots[first:]
        shape = (len(slots), spec.kv_heads, spec.head_dim)
        k = self._memory.keys[op.layer][slots].view(shape)
        if spec.value_dim is None:
            v = self._memory.values[op.layer][slots].view(shape)
        else:
            v = k[..., : spec.value_dim]
        q = buffers[op.q][sequence.rows].unflatten(-1, (op.heads, op.head_dim))
        mask = _mask(op, sequence, first, q.device)
        if op.sinks is not None:
            q, k, v, mask = _with_sinks(op, self._memory.vector(op.sinks), q, k, v, mask)
        if q.device.type == "cpu":
            k, v = k.float(), v.float()
        attended = functional.scaled_dot_product_attention(
            q.to(k.dtype).transpose(0, 1)[None],
            k.transpose(0, 1)[None],
            v.transpose(0, 1)[None],
            attn_mask=mask,
            scale=op.scale,
            enable_gqa=op.heads != op.kv_heads,
        )[0].transpose(0, 1)
        width = buffers[op.out].shape[1] // op.heads
        buffers[op.out][sequence.rows] = attended[:, :, :width].flatten(1).float()

    def _experts(self, op: Experts, buffers: Buffers) -> None:
        """Expert by expert, each for the rows that chose it; waits for the device once."""
        x, out, counted = buffers[op.inp], buffers[op.out], buffers[op.routed]
        weights = self._memory.experts(op)
        pairs = (counted.T != 0).nonzero()
        sizes = torch.bincount(pairs[:, 0], minlength=len(op.gate)).tolist()
        out.zero_()
        for e, rows in enumerate(pairs[:, 1].split(sizes)):
            if len(rows) == 0:
                continue
            both = times(x[rows], weights.up.matrix(e))
            both = both + weights.up_bias[e] if weights.has_bias else both
            made = times(_gated(op.clamp, both[:, 0::2], both[:, 1::2]), weights.down.matrix(e))
            made = made + weights.down_bias[e] if weights.has_bias else made
            out[rows] += counted[rows, e, None] * made


def times(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x [T, K] @ matrix [N, K].T, float32: the rows rounded to bf16, sums in float32."""
    rounded = x.bfloat16()
    if x.device.type == "cpu":
        return rounded.float() @ matrix.float().T
    return torch.mm(rounded, matrix.T, out_dtype=torch.float32)


def _gated(clamp: ClampedSwiglu | None, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    if clamp is None:
        return functional.silu(gate) * up
    gate, up = gate.clamp(max=clamp.limit), up.clamp(-clamp.limit, clamp.limit)
    return gate * torch.sigmoid(clamp.alpha * gate) * (up + 1)


def _route(op: Route, scores: torch.Tensor, out: torch.Tensor) -> None:
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices[:, : op.top]
    is_chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    kept = torch.where(is_chosen, powers, 0.0)
    out.copy_(kept / (kept if op.normalised else powers).sum(-1, keepdim=True))


def _mask(op: Attend, sequence: Sequence, first: int, device: torch.device) -> torch.Tensor:
    """What each row sees of the context from `first` on: [rows, tokens] bool."""
    end = len(sequence.slots)
    own = torch.arange(sequence.position, end, device=device)[:, None]
    seen = torch.arange(first, end, device=device)[None, :]
    mask = seen <= own
    return mask if op.window is None else mask & (seen > own - op.window)


def _with_sinks(
    op: Attend,
    sinks: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k, v and mask with one token more, which scores what the head's sink says, and is zero.

    A head finds its sink at its own of the values behind a key, of which its query has a one.
    """
    group = op.heads // op.kv_heads
    width = -(-(op.head_dim + group) // 8) * 8  # as library kernels like it
    more = width - op.head_dim
    marks = torch.eye(group, more, dtype=q.dtype, device=q.device).repeat(op.kv_heads, 1)
    q = torch.cat([q, marks.expand(len(q), -1, -1)], dim=-1)
    sink = torch.zeros((1, op.kv_heads, width), dtype=k.dtype, device=k.device)
    scores = (sinks / op.scale).view(op.kv_heads, group)
    sink[0, :, op.head_dim : op.head_dim + group] = scores.to(k.dtype)
    k = torch.cat([functional.pad(k, (0, more)), sink])
    v = functional.pad(v, (0, width - v.shape[-1], 0, 0, 0, 1))
    return q, k, v, functional.pad(mask, (0, 1), value=True)


def slots_of(table: torch.Tensor, tokens: int) -> torch.Tensor:
    """Where the first `tokens` positions of a sequence lie, from its block table [W]: int64."""
    place = torch.arange(tokens, device=table.device)
    return table[place // BLOCK_TOKENS].long() * BLOCK_TOKENS + place % BLOCK_TOKENS
