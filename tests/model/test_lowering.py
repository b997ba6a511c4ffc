"""Lowering: every operation in exactly one phase, fused only where nobody looks inside."""

from collections import Counter
from dataclasses import MISSING, fields, replace
from typing import get_args

import pytest

from headrace.model import lowering
from headrace.model.lowering import (
    Attention,
    EmbedRows,
    GatedMlp,
    HeadLinears,
    HeadSample,
    LinearResidual,
    MixtureMlp,
    NormLinear,
    Phase,
    Single,
    lower,
)
from headrace.model.program import (
    Activate,
    Add,
    Attend,
    ClampedSwiglu,
    Embed,
    Experts,
    HeadLinear,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Route,
    Tap,
    Weight,
    variations,
)
from tests.golden_cases import load_case, open_case
from tests.latent_program import ODD, latent_program
from tests.tiny_llama import tiny_program


def ops_of(phase: Phase) -> list[Op]:
    match phase:
        case EmbedRows():
            return [phase.embed]
        case NormLinear():
            return [*([phase.norm] if phase.norm else []), *phase.linears]
        case HeadLinears():
            return [phase.linear]
        case Attention():
            return [*phase.ropes, phase.append, phase.attend]
        case LinearResidual():
            return [phase.linear, phase.add, *([phase.tap] if phase.tap else [])]
        case GatedMlp():
            return [*([phase.norm] if phase.norm else []), phase.gate, phase.up, phase.activate]
        case MixtureMlp():
            return [phase.norm, phase.router, phase.route, phase.experts]
        case HeadSample():
            return [phase.norm, phase.head]
        case Single():
            return [phase.op]


def with_ops(program: Program, ops: list[Op]) -> Program:
    return replace(program, ops=tuple(ops))


def test_a_llama_layer_is_five_phases_and_nothing_falls_back() -> None:
    phases = lower(tiny_program(num_hidden_layers=3))
    kinds = Counter(type(phase) for phase in phases)
    assert kinds == {
        EmbedRows: 1,
        NormLinear: 3,
        Attention: 3,
        LinearResidual: 6,
        GatedMlp: 3,
        HeadSample: 1,
    }


def test_a_latent_layer_is_seven_phases_and_a_norm() -> None:
    program = latent_program(ODD)
    phases = lower(program)
    assert [op for phase in phases for op in ops_of(phase)] == list(program.ops)
    kinds = Counter(type(phase) for phase in phases)
    assert kinds == {
        EmbedRows: 1,
        NormLinear: 2,
        Single: 2,
        HeadLinears: 4,
        Attention: 2,
        LinearResidual: 4,
        GatedMlp: 2,
        HeadSample: 1,
    }
    assert all(isinstance(p.op, Norm) for p in phases if isinstance(p, Single))


def test_linears_and_a_gated_mlp_need_no_norm_before_them() -> None:
    program = tiny_program(architectures=["Olmo2ForCausalLM"])
    phases = lower(program)
    assert [op for phase in phases for op in ops_of(phase)] == list(program.ops)
    bare = [p for p in phases if isinstance(p, NormLinear | GatedMlp) and p.norm is None]
    assert [type(p) for p in bare] == [NormLinear, GatedMlp] * 2


def test_linears_of_different_inputs_or_into_their_input_are_not_stacked() -> None:
    weight = Weight(name="x", shape=(48, 48))
    for pair in ((("t", "q"), ("h", "k")), (("t", "q"), ("t", "t"))):
        ops: list[Op] = [Linear(inp=inp, out=out, weight=weight) for inp, out in pair]
        phases = lower(with_ops(tiny_program(), ops))
        assert [type(phase) for phase in phases] == [Single] * 2


def test_phases_hold_every_operation_once_and_in_order() -> None:
    program = tiny_program()
    assert [op for phase in lower(program) for op in ops_of(phase)] == list(program.ops)


def test_taps_stay_with_the_residual_they_read() -> None:
    phases = lower(tiny_program())
    assert [p.tap.layer for p in phases if isinstance(p, LinearResidual) and p.tap] == [0, 1]


def test_a_norm_whose_output_is_read_later_is_not_fused_away() -> None:
    program = tiny_program()
    ops = list(program.ops)
    late_reader = Tap(inp="t", layer=99)
    ops.insert(5, late_reader)  # t is still wanted after q, k, v
    phases = lower(with_ops(program, ops))
    assert isinstance(phases[1], Single)
    assert isinstance(phases[1].op, Norm)
    assert [op for phase in phases for op in ops_of(phase)] == ops


def test_a_linear_added_elsewhere_is_not_a_residual() -> None:
    program = tiny_program()
    weight = Weight(name="x", shape=(48, 48))
    ops: list[Op] = [
        Linear(inp="a", out="d", weight=weight),
        Add(inp="t", out="h"),
        Linear(inp="h", out="d", weight=weight),
        Add(inp="d", out="h"),  # reads what it adds to: must not be fused
    ]
    phases = lower(with_ops(program, ops))
    assert [type(phase) for phase in phases] == [Single] * 4


def test_linears_that_write_one_buffer_are_not_stacked() -> None:
    program = tiny_program()
    weight = Weight(name="x", shape=(48, 48))
    norm = program.ops[1]
    ops: list[Op] = [
        norm,
        Linear(inp="t", out="q", weight=weight),
        Linear(inp="t", out="q", weight=weight),
    ]
    phases = lower(with_ops(program, ops))
    assert [type(phase) for phase in phases] == [Single] * 3


def test_a_gated_mlp_with_one_buffer_for_gate_and_up_is_taken_apart() -> None:
    program = tiny_program()
    weight = Weight(name="x", shape=(80, 48))
    ops: list[Op] = [
        program.ops[1],
        Linear(inp="t", out="g", weight=weight),
        Linear(inp="t", out="g", weight=weight),
        Activate(gate="g", up="g", out="m"),
    ]
    phases = lower(with_ops(program, ops))
    assert not any(isinstance(phase, GatedMlp) for phase in phases)
    assert [op for phase in phases for op in ops_of(phase)] == ops


# A value other than the default for every optional field of every operation.
VARIATIONS: dict[tuple[type[Op], str], object] = {
    (Embed, "scale"): 2.0,
    (Norm, "offset"): 1.0,
    (Norm, "heads"): 2,
    (Norm, "rest"): 3,
    (Linear, "bias"): Weight(name="bias", shape=(1,)),
    (HeadLinear, "transposed"): True,
    (Rope, "part"): (2, 4),
    (Rope, "interleaved"): True,
    (Rope, "scale"): 1.5,
    (Attend, "window"): 5,
    (Attend, "value_dim"): 4,
    (Attend, "sinks"): Weight(name="sinks", shape=(6,)),
    (Activate, "function"): "gelu_tanh",
    (Route, "normalised"): False,
    (Route, "function"): "sigmoid",
    (Route, "correction"): Weight(name="correction", shape=(1,)),
    (Route, "groups"): (2, 1),
    (Route, "scale"): 2.5,
    (Experts, "biases"): ((Weight(name="bias", shape=(1,)),) * 3,),
    (Experts, "clamp"): ClampedSwiglu(alpha=1.7, limit=7.0),
}


def test_the_variations_are_all_there_are() -> None:
    optional = {
        (kind, field.name)
        for kind in get_args(Op)
        for field in fields(kind)
        if field.default is not MISSING
    }
    assert set(VARIATIONS) == optional


@pytest.mark.parametrize(("kind", "field"), VARIATIONS)
def test_a_field_that_no_phase_carries_leaves_the_operation_alone(
    kind: type[Op], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {field: VARIATIONS[kind, field]}
    program = latent_program(ODD) if kind is HeadLinear else tiny_program()
    if kind in (Route, Experts):
        program = open_case(load_case("mixtral")).program
    ops = [replace(op, **change) if isinstance(op, kind) else op for op in program.ops]
    carried = field in lowering.CARRIED.get(kind, ())
    varied = [op for op in ops if isinstance(op, kind) and variations(op)]
    assert varied
    for known in (carried, False):
        if not known:  # as it would be for a field that was added to the program only
            monkeypatch.setattr(lowering, "CARRIED", {})
        phases = lower(with_ops(program, ops))
        assert [op for phase in phases for op in ops_of(phase)] == ops
        alone = [phase.op for phase in phases if isinstance(phase, Single)]
        alone = [op for op in alone if isinstance(op, kind) and variations(op)]
        assert alone == ([] if known else varied)
