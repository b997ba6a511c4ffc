"""What the family functions read in a config.json, and what they refuse; numbers are golden."""

import json
from typing import Any

import pytest

from headrace.errors import CheckpointError
from headrace.model.program import Attend, Program
from headrace.model.registry import BUILDERS, build_program
from tests.golden_cases import GOLDEN


def config_of(case: str, **changes: object) -> dict[str, Any]:
    return {**json.loads((GOLDEN / case / "config.json").read_text()), **changes}


def build(case: str, **changes: object) -> Program:
    return build_program(config_of(case, **changes))


def windows(program: Program) -> list[int | None]:
    return [op.window for op in program.ops if isinstance(op, Attend)]


def test_an_unknown_architecture_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(CheckpointError) as refused:
        build_program({"architectures": ["MambaForCausalLM"]})
    for known in BUILDERS:
        assert known in str(refused.value)


@pytest.mark.parametrize("case", ["qwen2", "mistral", "qwen3", "olmo2", "phi3"])
def test_an_unknown_activation_is_refused(case: str) -> None:
    with pytest.raises(CheckpointError, match="'hidden_act' 'relu'"):
        build(case, hidden_act="relu")


@pytest.mark.parametrize("case", ["qwen2", "mistral", "qwen3", "olmo2", "phi3"])
def test_heads_rotated_in_part_are_refused(case: str) -> None:
    with pytest.raises(CheckpointError, match="'partial_rotary_factor'"):
        build(case, partial_rotary_factor=0.5)


@pytest.mark.parametrize("case", ["qwen2", "qwen3"])
def test_qwen_windows_are_off_unless_asked_for(case: str) -> None:
    on = {"use_sliding_window": True, "sliding_window": 9, "layer_types": None}
    assert windows(build(case, **on, max_window_layers=2)) == [None, None, 9]
    assert windows(build(case, **on, max_window_layers=28)) == [None] * 3
    off = build(case, use_sliding_window=False, sliding_window=9, layer_types=None)
    assert windows(off) == [None] * 3


@pytest.mark.parametrize(
    "types",
    [
        ["full_attention"],
        ["full_attention"] * 2 + ["chunked_attention"],
        "full_attention",
        ["full_attention", 3, None],
    ],
)
def test_layer_types_must_be_one_known_word_for_each_layer(types: object) -> None:
    with pytest.raises(CheckpointError, match="'layer_types'"):
        build("qwen2", layer_types=types)


def test_sliding_layers_need_a_window() -> None:
    with pytest.raises(CheckpointError, match="no sliding window is set"):
        build("qwen2", layer_types=["sliding_attention"] * 3, use_sliding_window=False)


def test_mistral_without_a_window_sees_everything() -> None:
    assert windows(build("mistral")) == [27, 27]
    assert windows(build("mistral", sliding_window=None)) == [None, None]


def test_phi3_rotations_by_length_are_refused() -> None:
    scaling = {"type": "longrope", "long_factor": [1.0] * 7, "short_factor": [1.0] * 7}
    with pytest.raises(CheckpointError, match="rope type 'longrope' is not known"):
        build("phi3", rope_parameters=None, rope_scaling=scaling)


def test_phi3_reads_rows_of_shared_tensors() -> None:
    program = build("phi3")
    tensors = program.weights()
    assert tensors["model.layers.0.self_attn.qkv_proj.weight"].shape == (112, 56)
    assert tensors["model.layers.0.mlp.gate_up_proj.weight"].shape == (90, 56)
