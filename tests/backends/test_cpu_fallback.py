"""Programs no phase matches run operation by operation: right, and reported."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Tap,
)
from tests.backends.cpu_cases import ISAS, calm_weights, logits_of, row_rms, tokens
from tests.tiny_llama import rows_batch, scrambled_tables, tiny_program

TABLES = scrambled_tables(1, 64, num_blocks=8)


def agree(program: Program, isa: str | None = None) -> dict[str, int]:
    """Asserts the backend equals the reference on `program`; what ran alone."""
    weights = calm_weights(program)
    batch = rows_batch({0: (0, tokens(program, 37))}, TABLES, taps=(0, 1))
    judge = ReferenceBackend(program, weights, num_blocks=8)
    expected = judge.step(batch)
    bound = relative_error_bound(program)
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
def test_every_operation_can_run_alone(isa: str) -> None:
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
    alone = agree(with_ops(program, ops, z=hidden, z2=hidden, z3=hidden, zg=ffn), isa)
    expected = {"Norm", "Linear", "Rope", "AppendKv", "Attend", "Activate", "Add", "Tap", "Head"}
    assert expected <= set(alone)


def test_linears_in_place_wait_for_their_readers() -> None:
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
    assert agree(with_ops(program, ops))["Linear"] == 2


def test_a_gated_mlp_may_write_its_own_input() -> None:
    program = tiny_program(intermediate_size=48)
    ops: list[Op] = [
        replace(op, out="h") if isinstance(op, Activate) else op
        for op in program.ops
        if not (isinstance(op, Linear) and op.inp == "m")
    ]
    del ops[ops.index(Add(inp="d", out="h"), ops.index(Tap(inp="h", layer=0)) - 1)]
    agree(with_ops(program, ops))


def test_two_linears_into_one_buffer_are_not_fused() -> None:
    program = tiny_program()
    ops: list[Op] = []
    for op in program.ops:
        ops += [replace(op, out="v"), op] if isinstance(op, Linear) and op.out == "k" else [op]
    alone = agree(with_ops(program, ops))
    assert alone == {"Norm": 2, "Linear": 8}


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
