"""Phases to kernel launches: a step of up to sixteen rows as a straight list.

Every launch is fixed: which buffers, which weights, which grid. What changes from step to step lies
in `State` on the device, so the list can be recorded once and replayed.
"""
# pyright: basic, reportMissingImports=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from headrace.backends.cuda import attention, products, rows
from headrace.backends.cuda.launch import Call, Launch
from headrace.backends.cuda.memory import Memory
from headrace.backends.cuda.mixture import (
    ExpertTilings,
    FusedPhase,
    MixtureResidual,
    Router,
    Stream,
    is_read,
    mixture_launches,
)
from headrace.backends.cuda.operations import Operations
from headrace.backends.cuda.state import State
from headrace.backends.cuda.tiling import Tiling, expert_tiling, tiling
from headrace.model.lowering import (
    Attention,
    EmbedRows,
    GatedMlp,
    HeadLinears,
    HeadSample,
    LinearResidual,
    MixtureMlp,
    NormLinear,
    Single,
)
from headrace.model.program import (
    AppendKv,
    Attend,
    Embed,
    Experts,
    Head,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    op_weights,
    reads,
    writes,
)

ROWS = products.ROWS.value
SPLITS = attention.SPLITS.value
_RUN = products.RUN.value
_FEW_ROWS, _MANY_ROWS = 4, 8  # of a group
_TILE = 1024  # values of a row that `embed` and `prepare` take at a time
_MOST_GROUP = 16  # query heads per kv head that one program attends with

Tilings = Callable[[int, int, int], Tiling]  # of outputs, inputs, matrices


@dataclass(slots=True)
class _Split:
    """A row of a buffer as a product wants it, and how it came to be."""

    x: torch.Tensor
    squares: torch.Tensor
    norm: Norm | None = None
    runs: int = 0  # of squares; 0: not made ready


def can_fuse(program: Program, phases: Sequence[FusedPhase]) -> bool:
    """Whether every phase is a launch, or operations that a recorded step can hold."""
    return all(_is_recordable(program, phase) for phase in phases)


def _is_recordable(program: Program, phase: FusedPhase) -> bool:
    match phase:
        case Attention():
            attend, ropes = phase.attend, phase.ropes
            turned = {rope.buffer for rope in ropes}
            same = len({(rope.frequencies, rope.scale) for rope in ropes}) <= 1
            plain = all(rope.part is None and not rope.interleaved for rope in ropes)
            whole = program.kv[attend.layer].value_dim is None and phase.append.v is not None
            both = turned in (set(), {attend.q, phase.append.k})
            fits = attend.heads <= _MOST_GROUP * attend.kv_heads
            return same and plain and whole and both and fits
        case MixtureMlp():  # one that something looks into
            return False
        case Single(op=op):  # these look at positions, which the host of a replay has not, or wait
            return not isinstance(op, Rope | AppendKv | Attend | Embed | Head | Experts)
        case _:
            return True


class Planner:
    """Makes the launches of a program. The buffers are the same for all of them."""

    def __init__(
        self,
        program: Program,
        phases: Sequence[FusedPhase],
        memory: Memory,
        state: State,
        *,
        device: str,
        tilings: Tilings = tiling,
    ) -> None:
        self._program = program
        self._phases = phases
        self._memory = memory
        self._state = state
        self._device = device
        self._tilings = tilings
        self.expert_tilings: ExpertTilings = expert_tiling
        self._operations = Operations(program, memory)
        self._buffers = {name: self._zeros(ROWS, n) for name, n in program.buffers.items()}
        self._views = dict(self._buffers)
        self._joined: dict[tuple[str, ...], torch.Tensor] = {}
        self._splits: dict[str, _Split] = {}
        self._scratch: dict[str, torch.Tensor] = {}
        self._made: list[Launch | Call] = []
        self._rows = self._group = self._groups = self._context_splits = 0
        self._none = self._zeros(1)

    def launches(self, row_count: int, context_splits: int) -> list[Launch | Call]:
        """A step of up to `row_count` rows whose contexts are cut into `context_splits` at most."""
        self._rows, self._context_splits = row_count, context_splits
        self._group = _FEW_ROWS if row_count <= _FEW_ROWS else _MANY_ROWS
        self._groups = -(-row_count // self._group)
        self._made = []
        for split in self._splits.values():
            split.norm, split.runs = None, 0
        for i, phase in enumerate(self._phases):
            self._phase(i, phase)
        return self._made

    def _phase(self, i: int, phase: FusedPhase) -> None:
        match phase:
            case EmbedRows():
                self._embed(i, phase)
            case NormLinear():
                self._linears(phase)
            case Attention():
                self._attention(i, phase)
            case LinearResidual():
                self._residual(i, phase)
            case GatedMlp():
                self._gated(i, phase)
            case HeadSample():
                self._head(phase)
            case Single(op=op):
                self._single(op)
            case MixtureResidual():
                self._mixture(i, phase)
            case HeadLinears():
                self._call("HeadLinears", (phase.linear,))
            case _:
                raise AssertionError("not recordable")

    def _single(self, op: Op) -> None:
        if isinstance(op, Norm):
            self._norm(op)
        else:
            self._call(type(op).__name__, (op,))

    def _embed(self, i: int, phase: EmbedRows) -> None:
        op = phase.embed
        follows, norm = self._follows(i, op.out)
        split = self._split(op.out)
        tiles = -(-self._program.buffers[op.out] // _TILE)
        self._launch(
            "embed",
            rows.embed,
            (self._rows, tiles),
            tokens=self._state.tokens,
            table=self._memory.matrix(op.table),
            out=self._own(op.out),
            gamma=self._gamma(norm),
            next_x=split.x,
            next_squares=split.squares,
            scale=op.scale,
            H=self._program.buffers[op.out],
            NEXT=follows,
            TILE=_TILE,
            GROUP=self._group,
        )
        split.norm, split.runs = (norm, tiles) if follows else (None, 0)

    def _linears(self, phase: NormLinear) -> None:
        linears = phase.linears
        split = self._prepared(linears[0].inp, phase.norm)
        outs = tuple(linear.out for linear in linears)
        if outs not in self._joined:
            width = sum(linear.weight.shape[0] for linear in linears)
            self._joined[outs] = self._zeros(ROWS, width)
        joined, first = self._joined[outs], 0
        for linear in linears:
            end = first + linear.weight.shape[0]
            self._views[linear.out] = joined[:, first:end]
            self._splits.pop(linear.out, None)
            first = end
        self._linear("qkv", split, phase.norm, linears, joined)

    def _residual(self, i: int, phase: LinearResidual) -> None:
        out = phase.add.out
        split = self._prepared(phase.linear.inp, None)
        follows, norm = self._follows(i, out)
        name = f"linear {phase.linear.weight.shape[1]}"
        self._linear(
            name,
            split,
            None,
            (phase.linear,),
            self._own(out),
            adds=True,
            following=(self._split(out), norm) if follows else None,
        )
        if not follows:
            self._splits.pop(out, None)

    def _linear(
        self,
        name: str,
        split: _Split,
        norm: Norm | None,
        linears: tuple[Linear, ...],
        out: torch.Tensor,
        *,
        adds: bool = False,
        following: tuple[_Split, Norm | None] | None = None,
    ) -> None:
        matrix = self._memory.stack(tuple(linear.weight for linear in linears))
        bias = self._bias(linears)
        N, K = matrix.shape
        cut = self._tilings(N, K, 1)
        tiles = -(-N // cut.outputs)
        after = following[0] if following else split
        self._launch(
            name,
            products.linear,
            (tiles * self._groups,),
            warps=cut.parts,
            read_bytes=matrix.nbytes,
            x=split.x,
            squares=split.squares,
            w=matrix,
            bias=self._none if bias is None else bias,
            out=out,
            gamma=self._gamma(following[1] if following else None),
            next_x=after.x,
            next_squares=after.squares,
            K=K,
            N=N,
            HAS_BIAS=bias is not None,
            ADDS=adds,
            NEXT=following is not None,
            FIRST=adds,  # attention, which follows others, reads more
            **self._normed(split, norm),
            **cut.constants(),
        )
        if following:
            after.norm, after.runs = following[1], -(-N // _RUN)

    def _gated(self, i: int, phase: GatedMlp) -> None:
        split = self._prepared(phase.gate.inp, phase.norm)
        out = phase.activate.out
        follows = self._follows(i, out)[0] and not self._is_read_later(i + 2, out)
        gate, up = self._memory.matrix(phase.gate.weight), self._memory.matrix(phase.up.weight)
        N, K = gate.shape
        cut = self._tilings(N, K, 2)
        after = self._split(out)
        has_bias = phase.gate.bias is not None or phase.up.bias is not None
        self._launch(
            "gate and up",
            products.gated,
            (-(-N // cut.outputs) * self._groups,),
            warps=cut.parts,
            read_bytes=gate.nbytes + up.nbytes,
            x=split.x,
            squares=split.squares,
            w_gate=gate,
            w_up=up,
            gate_bias=self._bias((phase.gate,), zeros=has_bias),
            up_bias=self._bias((phase.up,), zeros=has_bias),
            out=self._own(out),
            next_x=after.x,
            K=K,
            N=N,
            HAS_BIAS=has_bias,
            GELU=phase.activate.function == "gelu_tanh",
            NEXT=follows,
            FIRST=True,
            **self._normed(split, phase.norm),
            **cut.constants(),
        )
        after.norm, after.runs = None, 1 if follows else 0

    def _attention(self, i: int, phase: Attention) -> None:
        op, append = phase.attend, phase.append
        assert append.v is not None
        follows = self._follows(i, op.out)[0] and not self._is_read_later(i + 2, op.out)
        after = self._split(op.out)
        group = op.heads // op.kv_heads
        half = max(16, _power_of_two(op.head_dim // 2))
        stored = _power_of_two(group)
        places = ROWS * op.kv_heads
        cos, sin = self._memory.rotation(phase.ropes[0]) if phase.ropes else (self._none,) * 2
        q, k, v = (self._views[name] for name in (op.q, append.k, append.v))
        self._launch(
            "attention",
            attention.attend,
            (self._rows, op.kv_heads, self._context_splits),
            q=q,
            k=k,
            v=v,
            q_stride=q.stride(0),
            k_stride=k.stride(0),
            v_stride=v.stride(0),
            positions=self._state.positions,
            first_rows=self._state.first_rows,
            sequences=self._state.sequences,
            tables=self._state.tables,
            table_width=self._state.tables.shape[1],
            cos=cos,
            sin=sin,
            keys=self._memory.keys[op.layer],
            values=self._memory.values[op.layer],
            out=self._own(op.out),
            next_x=after.x,
            partial=self._shared("partial", places * SPLITS * stored * 2 * half),
            maxima=self._shared("maxima", places * SPLITS * stored),
            totals=self._shared("totals", places * SPLITS * stored),
            arrived=self._shared("arrived", places, torch.int32),
            sinks=self._none if op.sinks is None else self._memory.vector(op.sinks),
            scale=op.scale,
            window=op.window or 0,
            KV_HEADS=op.kv_heads,
            G=group,
            GP=16,
            G2=stored,
            D=op.head_dim,
            DH=half,
            TURNS=len(phase.ropes) > 0,
            SINKS=op.sinks is not None,
            NEXT=follows,
            GROUP=self._group,
        )
        after.norm, after.runs = None, 1 if follows else 0

    def _mixture(self, i: int, phase: MixtureResidual) -> None:
        mixture, out = phase.mixture, phase.add.out
        inp = self._views[mixture.norm.inp]
        follows, norm = self._follows(i, out)
        after = self._split(out)
        bias = mixture.router.bias
        self._made += mixture_launches(
            mixture,
            self._memory.experts(mixture.experts),
            Stream(
                inp=inp,
                out=self._own(out),
                positions=self._state.positions,
                rows=self._rows,
                group=self._group,
                follows=follows,
                gamma=self._gamma(norm),
                next_x=after.x,
                next_squares=after.squares,
            ),
            Router(
                norm=self._gamma(mixture.norm),
                matrix=self._memory.matrix(mixture.router.weight),
                bias=None if bias is None else self._memory.vector(bias),
            ),
            self._shared,
            self.expert_tilings,
        )
        after.norm, after.runs = norm, -(-self._program.buffers[out] // _RUN)
        if not follows:
            self._splits.pop(out, None)

    def _head(self, phase: HeadSample) -> None:
        split = self._prepared(phase.head.inp if phase.norm is None else phase.norm.inp, phase.norm)
        matrix = self._memory.matrix(phase.head.weight)
        N, K = matrix.shape
        cut = self._tilings(N, K, 1)
        tiles = -(-N // cut.outputs)
        score = self._shared("score", tiles * ROWS, torch.float64)
        token = self._shared("token", tiles * ROWS, torch.int32)
        self._launch(
            "head",
            products.head,
            (tiles * self._groups,),
            warps=cut.parts,
            read_bytes=matrix.nbytes,
            x=split.x,
            squares=split.squares,
            w=matrix,
            logits=self._state.logits,
            best_score=score,
            best_token=token,
            temperature=self._state.temperature,
            seed=self._state.seed,
            positions=self._state.positions,
            K=K,
            N=N,
            FIRST=True,
            **self._normed(split, phase.norm),
            **cut.constants(),
        )
        self._launch(
            "draw",
            rows.draw,
            (self._rows,),
            warps=8,
            best_score=score,
            best_token=token,
            tokens=self._state.tokens,
            positions=self._state.positions,
            drawn=self._state.drawn,
            steps_done=self._state.steps_done,
            STEPS=len(self._state.drawn),
            TILES=tiles,
            PADDED=_power_of_two(tiles),
        )

    def _norm(self, op: Norm) -> None:
        inp, out = self._views[op.inp], self._own(op.out) if op.out != op.inp else None
        out = self._views[op.inp] if out is None else out
        width = self._program.buffers[op.inp] // op.heads
        self._launch(
            "norm",
            rows.norm,
            (self._rows, op.heads),
            inp=inp,
            inp_stride=inp.stride(0),
            out=out,
            out_stride=out.stride(0),
            gamma=self._gamma(op),
            eps=op.eps,
            WIDTH=width,
            REST=op.rest,
            PADDED=_power_of_two(width),
        )
        self._splits.pop(op.out, None)

    def _call(self, name: str, ops: tuple[Op, ...]) -> None:
        for op in ops:
            written = writes(op)
            if written is not None and written not in reads(op):
                self._own(written)
            if written is not None:
                self._splits.pop(written, None)
        shown = {name: view[: self._rows] for name, view in self._views.items()}
        size = sum(
            self._memory.matrix(w).nbytes for op in ops for w in op_weights(op) if len(w.shape) > 1
        )
        self._made.append(
            Call(phase=name, operations=self._operations, ops=ops, buffers=shown, read_bytes=size)
        )

    def _launch(
        self,
        phase: str,
        kernel: Any,
        grid: tuple[int, ...],
        *,
        warps: int = 4,
        read_bytes: int = 0,
        **arguments: Any,
    ) -> None:
        launch = Launch(
            phase=phase,
            kernel=kernel,
            grid=grid,
            arguments=arguments,
            warps=warps,
            read_bytes=read_bytes,
        )
        self._made.append(launch)

    def _normed(self, split: _Split, norm: Norm | None) -> dict[str, Any]:
        """What the product kernels must know to apply a norm to their outputs."""
        return {
            "n_rows": self._rows,
            "eps": norm.eps if norm else 0.0,
            "GROUP": self._group,
            "GROUPS": self._groups,
            "SQUARES": split.runs if norm else 0,
            "PADDED": _power_of_two(split.runs),
        }

    def _prepared(self, name: str, norm: Norm | None) -> _Split:
        """The rows of a buffer as a product wants them; made here unless the writer did."""
        source = norm.inp if norm else name
        split = self._split(source)
        if split.runs and split.norm == norm:
            return split
        view = self._views[source]
        width = view.shape[1]
        tiles = -(-width // _TILE)
        self._launch(
            "prepare",
            rows.prepare,
            (self._rows, tiles),
            inp=view,
            stride=view.stride(0),
            gamma=self._gamma(norm),
            next_x=split.x,
            next_squares=split.squares,
            K=width,
            HAS_GAMMA=norm is not None,
            TILE=_TILE,
            GROUP=self._group,
        )
        split.norm, split.runs = norm, tiles
        return split

    def _follows(self, i: int, out: str) -> tuple[bool, Norm | None]:
        """Whether the next phase multiplies buffer `out` first, and by which norm."""
        match self._phases[i + 1] if i + 1 < len(self._phases) else None:
            case NormLinear(norm=norm, linears=linears):
                return (norm.inp if norm else linears[0].inp) == out, norm
            case GatedMlp(norm=norm, gate=gate):
                return (norm.inp if norm else gate.inp) == out, norm
            case HeadSample(norm=norm):
                return norm.inp == out, norm
            case LinearResidual(linear=linear):
                return linear.inp == out, None
            case _:
                return False, None

    def _is_read_later(self, i: int, name: str) -> bool:
        return is_read(self._phases[i:], name)

    def _own(self, name: str) -> torch.Tensor:
        """The buffer itself, which is about to be written whole."""
        self._views[name] = self._buffers[name]
        return self._buffers[name]

    def _split(self, name: str) -> _Split:
        if name not in self._splits:
            width = self._program.buffers[name]
            key = f"split of {name}"
            x = self._shared(key, ROWS * 2 * width, torch.bfloat16)
            squares = self._shared(f"squares of {name}", -(-width // 8) * ROWS)
            self._splits[name] = _Split(x=x, squares=squares)
        return self._splits[name]

    def _gamma(self, norm: Norm | None) -> torch.Tensor:
        if norm is None:
            return self._shared("ones", 1 << 15).fill_(1.0)
        return self._memory.vector(norm.weight, norm.offset)

    def _bias(self, linears: Sequence[Linear], *, zeros: bool = False) -> torch.Tensor | None:
        if not zeros and all(linear.bias is None for linear in linears):
            return None
        parts = [
            self._zeros(linear.weight.shape[0])
            if linear.bias is None
            else self._memory.vector(linear.bias)
            for linear in linears
        ]
        key = "bias " + " ".join(linear.weight.name + linear.out for linear in linears)
        if key not in self._scratch:
            self._scratch[key] = torch.cat(parts)
        return self._scratch[key]

    def _shared(self, name: str, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Scratch of that name, at least `size` numbers, the same for all layers."""
        key = f"{name} {size}"
        if key not in self._scratch:
            self._scratch[key] = torch.zeros(size, dtype=dtype, device=self._device)
        return self._scratch[key]

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self._device)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
