"""Programs no phase matches run operation by operation: right, and reported."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend, phases, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.errors import BackendError
from headrace.model import lowering
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    Embed,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Tap,
    Weight,
)
from tests.backends.cpu_cases import (
    ISAS,
    calm_weights,
    logits_of,
    row_rms,
    tokens,
    weights_with_fp16,
)
from tests.tiny_llama import rows_batch, scrambled_tables, tiny_program

TABLES = scrambled_tables(1, 64, num_blocks=8)


def agree(program: Program, isa: str | None = None, kind: str = "bf16") -> dict[str, int]:
    """Asserts the backend equals the reference on `program`; what ran alone."""
    weights = calm_weights(program) if kind == "bf16" else weights_with_fp16(program, kind)
    batch = rows_batch({0: (0, tokens(program, 37))}, TABLES, taps=(0, 1))
    judge = ReferenceBackend(program, weights, num_blocks=8)
    expected = judge.step(batch)
    bound = relative_error_bound(program, weights)
    found: dict[int, np.ndarray] = {}
    for threads in (1, 2, 3):
        backend = CpuBackend(program, weights, num_blocks=8, threads=threads, isa=isa)
        result = backend.step(batch)
        error = np.abs(logits_of(result) - logits_of(expected)).max(axis=-1)
        assert (error / row_rms(logits_of(expected))).max() <= bound
        assert result.hidden is not None
        assert expected.hidden is not None
        off = np.abs(result.hidden - expected.hidden).max(axis=-1)
        assert (off / row_rms(expected.hidden)).max() <= bound
        found[threads] = logits_of(result)
        alone = [
            logits_of(backend.step(rows_batch({0: (row, [int(token)])}, TABLES)))[0]
            for row, token in enumerate(batch.token_ids)
        ]
        np.testing.assert_array_equal(alone, found[1])
        report = backend.report()
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(found[3], found[1])
    return report.fallback_ops


def with_ops(program: Program, ops: Sequence[Op], **buffers: int) -> Program:
    return replace(program, ops=tuple(ops), buffers={**program.buffers, **buffers})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["bf16", "fp16", "tensors"])
def test_every_operation_can_run_alone(isa: str, kind: str) -> None:
    """A copy of each inner buffer is read at the very end, which no phase allows."""
    program = tiny_program(attention_bias=True, mlp_bias=True)
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Add):  # break linear+residual, and add in two steps
            ops += [Add(inp=op.inp, out="z"), op]
        elif isinstance(op, AppendKv):
            ops += [Add(inp="z", out="z2"), op, Add(inp="z", out="z2")]
        elif isinstance(op, Activate):
            ops += [Add(inp=op.gate, out="zg"), op]
        elif isinstance(op, Norm):
            ops += [op, Add(inp="t", out="z2")]
        else:
            ops.append(op)
    # The scratch buffers must hold numbers before they are added to.
    first = Norm(inp="h", out="z", weight=next(o for o in ops if isinstance(o, Norm)).weight, eps=1)
    ops[1:1] = [first, replace(first, out="z2"), replace(first, out="z3")]
    gate = next(o for o in ops if isinstance(o, Linear) and o.out == "g")
    ops[4:4] = [replace(gate, inp="z3", out="zg")]
    hidden, ffn = program.hidden_size, program.buffers["g"]
    alone = agree(with_ops(program, ops, z=hidden, z2=hidden, z3=hidden, zg=ffn), isa, kind)
    expected = {"Norm", "Linear", "Rope", "AppendKv", "Attend", "Activate", "Add", "Tap", "Head"}
    assert expected <= set(alone)


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_linears_in_place_wait_for_their_readers(kind: str) -> None:
    program = tiny_program()
    square = next(
        op.weight
        for op in program.ops
        if isinstance(op, Linear) and op.weight.shape[0] == op.weight.shape[1]
    )
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Tap):
            ops += [op, Linear(inp="h", out="h", weight=square)]
        else:
            ops.append(op)
    assert agree(with_ops(program, ops), kind=kind)["Linear"] == 2


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_a_gated_mlp_may_write_its_own_input(kind: str) -> None:
    program = tiny_program(intermediate_size=48)
    ops: list[Op] = [
        replace(op, out="h") if isinstance(op, Activate) else op
        for op in program.ops
        if not (isinstance(op, Linear) and op.inp == "m")
    ]
    del ops[ops.index(Add(inp="d", out="h"), ops.index(Tap(inp="h", layer=0)) - 1)]
    agree(with_ops(program, ops), kind=kind)


def test_two_linears_into_one_buffer_are_not_fused() -> None:
    program = tiny_program()
    ops: list[Op] = []
    for op in program.ops:
        ops += [replace(op, out="v"), op] if isinstance(op, Linear) and op.out == "k" else [op]
    alone = agree(with_ops(program, ops))
    assert alone == {"Norm": 2, "Linear": 2}  # the second into v


def test_attention_whose_buffers_overlap_is_not_fused() -> None:
    program = tiny_program(num_key_value_heads=6)
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Attend):
            op = replace(op, out="v")
        if isinstance(op, Linear) and op.inp == "a":
            op = replace(op, inp="v")
        ops.append(op)
    alone = agree(with_ops(program, ops))
    assert alone == {"Rope": 4, "AppendKv": 2, "Attend": 2}


def test_a_rope_of_another_head_shape_is_not_fused() -> None:
    program = tiny_program(head_dim=8)
    ops = [
        replace(op, heads=op.heads * 2, head_dim=4, frequencies=op.frequencies[:2])
        if isinstance(op, Rope)
        else op
        for op in program.ops
    ]
    alone = agree(with_ops(program, ops))
    assert alone["Rope"] == 4


def test_attention_without_ropes_is_still_one_phase() -> None:
    program = tiny_program()
    ops = [op for op in program.ops if not isinstance(op, Rope)]
    assert agree(with_ops(program, ops)) == {}


@pytest.mark.parametrize("isa", ISAS)
def test_optional_fields_inside_phases(isa: str) -> None:
    program = tiny_program()
    assert agree(with_ops(program, [varied(op) for op in program.ops]), isa) == {}


@pytest.mark.parametrize("isa", ISAS)
def test_optional_fields_of_operations_alone(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "CARRIED", {})
    program = tiny_program(attention_bias=True)
    alone = agree(with_ops(program, [varied(op) for op in program.ops]), isa)
    assert {"Embed", "Norm", "Rope", "Attend", "Activate", "Linear"} <= set(alone)


def varied(op: Op) -> Op:
    match op:
        case Embed():
            return replace(op, scale=0.7)
        case Norm():
            return replace(op, offset=0.25)
        case Rope():
            part = 2, op.head_dim - 2
            turned = {"part": part, "frequencies": op.frequencies[1:]}
            return replace(op, interleaved=True, scale=1.25, **turned)
        case Attend():
            return replace(op, window=9)
        case Activate():
            return replace(op, function="gelu_tanh")
        case _:
            return op


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("part", [None, (0, 8), (4, 6), (2, 34), (6, 32)])
@pytest.mark.parametrize("interleaved", [False, True])
def test_heads_turned_in_part(
    interleaved: bool, part: tuple[int, int] | None, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tiny_program(head_dim=38)
    width = 38 if part is None else part[1]
    ops = [
        replace(op, part=part, interleaved=interleaved, frequencies=op.frequencies[: width // 2])
        if isinstance(op, Rope)
        else op
        for op in program.ops
    ]
    assert agree(with_ops(program, ops), isa) == {}
    monkeypatch.setattr(lowering, "CARRIED", {Rope: frozenset()})
    alone = agree(with_ops(program, ops), isa)
    assert ("Rope" in alone) == (interleaved or part is not None)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("head_dim", [8, 10, 34])
def test_norms_of_heads_run_alone(head_dim: int, isa: str) -> None:
    program = tiny_program(head_dim=head_dim)
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Rope):
            weight = Weight(name=f"norm.{op.buffer}", shape=(head_dim,))
            ops.append(Norm(inp=op.buffer, out=op.buffer, weight=weight, eps=1e-5, heads=op.heads))
        ops.append(op)
    assert agree(with_ops(program, ops), isa)["Norm"] == 4


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("heads", "rest"), [(1, 5), (6, 3)])
def test_norms_of_a_part(heads: int, rest: int, isa: str) -> None:
    program = tiny_program()
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Rope) and op.buffer == "q":
            weight = Weight(name="norm.part", shape=(48 // heads - rest,))
            norm = Norm(inp="q", out="q", weight=weight, eps=1e-5, heads=heads, rest=rest)
            ops += [replace(norm, out="z"), replace(norm, inp="z")]
        ops.append(op)
    assert agree(with_ops(program, ops, z=48), isa)["Norm"] == 4


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [1, 15, 16, 40, 530, 5_000])
def test_windows_over_several_spans(window: int, isa: str) -> None:
    program = tiny_program(max_position_embeddings=1_200, num_hidden_layers=1)
    ops = [replace(op, window=window) if isinstance(op, Attend) else op for op in program.ops]
    program = with_ops(program, ops)
    weights = calm_weights(program)
    prompt = tokens(program, 1_100)
    tables = scrambled_tables(1, 1_120, num_blocks=70)
    judge = ReferenceBackend(program, weights, num_blocks=70)
    backend = CpuBackend(program, weights, num_blocks=70, threads=2, isa=isa)
    batch = rows_batch({0: (0, prompt)}, tables)
    expected, found = logits_of(judge.step(batch)), logits_of(backend.step(batch))
    error = np.abs(found - expected).max(axis=-1) / row_rms(expected)
    assert error.max() <= relative_error_bound(program)
    for row in (0, 15, 16, 511, 512, 529, 530, 1_023, 1_024, 1_041, 1_099):
        alone = logits_of(backend.step(rows_batch({0: (row, prompt[row : row + 1])}, tables)))
        np.testing.assert_array_equal(alone[0], found[row])


def test_a_weight_may_be_some_rows_of_a_tensor() -> None:
    program = tiny_program(num_key_value_heads=6)
    ops: list[Op] = []
    for op in program.ops:
        if isinstance(op, Linear) and op.out in {"q", "k", "v"}:
            rows, columns = op.weight.shape
            name, first = op.weight.name[: -len("q_proj.weight")] + "fused", "qkv".index(op.out)
            part = Weight(
                name=name, shape=(rows, columns), first_row=first * rows, tensor_rows=3 * rows
            )
            op = replace(op, weight=part)
        ops.append(op)
    fused = with_ops(program, ops)
    assert agree(fused) == {}
    assert fused.num_parameters == program.num_parameters
    assert fused.bytes_per_token() == program.bytes_per_token()
    weights = calm_weights(fused)
    backend = CpuBackend(fused, weights, num_blocks=1, threads=1)
    name = next(name for name in fused.weights() if name.endswith("fused"))
    np.testing.assert_array_equal(backend.unpack(name), weights[name])
    whole = dict(weights)
    for op, part in zip(program.ops, ops, strict=True):
        if isinstance(op, Linear) and isinstance(part, Linear):
            whole[op.weight.name] = weights[part.weight.name][part.weight.rows]
    apart = CpuBackend(program, whole, num_blocks=8, threads=1)
    together = CpuBackend(fused, weights, num_blocks=8, threads=1)
    batch = rows_batch({0: (0, tokens(program, 20))}, TABLES)
    np.testing.assert_array_equal(logits_of(apart.step(batch)), logits_of(together.step(batch)))


def test_a_field_this_backend_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "_DECLARED", {})
    program = tiny_program()
    ops = [varied(op) for op in program.ops]
    with pytest.raises(BackendError, match="Embed with scale"):
        agree(with_ops(program, ops))
