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


CASES = ["qwen2", "mistral", "qwen3", "olmo2", "phi3"]


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_activation_is_refused(case: str) -> None:
    with pytest.raises(CheckpointError, match="'hidden_act' 'relu'"):
        build(case, hidden_act="relu")


@pytest.mark.parametrize("case", CASES)
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


def test_a_step_reads_no_more_of_the_cache_than_the_window() -> None:
    program = build("mistral")
    for context, read in ((10, 10), (27, 27), (100, 27)):
        cache = program.bytes_per_token(context) - program.bytes_per_token()
        assert cache == program.kv_bytes_per_token * read


def test_phi3_rotations_by_length_are_refused() -> None:
    scaling = {"type": "longrope", "long_factor": [1.0] * 7, "short_factor": [1.0] * 7}
    with pytest.raises(CheckpointError, match="rope type 'longrope' is not known"):
        build("phi3", rope_parameters=None, rope_scaling=scaling)


def test_phi3_reads_rows_of_shared_tensors() -> None:
    program = build("phi3")
    tensors = program.weights()
    assert tensors["model.layers.0.self_attn.qkv_proj.weight"].shape == (112, 56)
    assert tensors["model.layers.0.mlp.gate_up_proj.weight"].shape == (90, 56)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_activation", "gelu"),
        ("use_bidirectional_attention", True),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
    ],
)
def test_gemma3_refuses_what_it_does_not_compute(key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}'"):
        build("gemma3", **{key: value})


def test_gemma3_positions_are_read_in_the_older_writing_too() -> None:
    old = config_of("gemma3")
    del old["rope_parameters"], old["layer_types"]
    old |= {
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        "sliding_window_pattern": 3,
    }
    assert build_program(old) == build("gemma3")
    assert windows(build_program(old)) == [19, 19, None, 19]


# Released checkpoints: what their config.json says of sizes, and how many numbers they hold.
RELEASED: dict[str, tuple[dict[str, object], int]] = {
    "Qwen2.5-0.5B": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": 896,
            "intermediate_size": 4_864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "sliding_window": 32_768,
        },
        494_032_768,
    ),
    "Mistral-7B-v0.1": (
        {
            "architectures": ["MistralForCausalLM"],
            "hidden_size": 4_096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32_000,
            "sliding_window": 4_096,
        },
        7_241_732_096,
    ),
    "Qwen3-0.6B": (
        {
            "architectures": ["Qwen3ForCausalLM"],
            "hidden_size": 1_024,
            "intermediate_size": 3_072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151_936,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    "OLMo-2-0425-1B": (
        {
            "architectures": ["Olmo2ForCausalLM"],
            "hidden_size": 2_048,
            "intermediate_size": 8_192,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "vocab_size": 100_352,
        },
        1_484_916_736,
    ),
    "Phi-3-mini-4k-instruct": (
        {
            "architectures": ["Phi3ForCausalLM"],
            "hidden_size": 3_072,
            "intermediate_size": 8_192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32_064,
            "sliding_window": 2_047,
        },
        3_821_079_552,
    ),
    "gemma-3-1b-it": (
        {
            "architectures": ["Gemma3ForCausalLM"],
            "hidden_size": 1_152,
            "intermediate_size": 6_912,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 262_144,
            "sliding_window": 512,
        },
        999_885_952,
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_sizes_give_the_released_number_of_parameters(name: str) -> None:
    config, parameters = RELEASED[name]
    assert build_program(config).num_parameters == parameters
