"""What the family functions read in a config.json, and what they refuse; numbers are golden."""

import pytest

from headrace.errors import CheckpointError
from headrace.model import open_checkpoint
from headrace.model.program import Attend, ClampedSwiglu, Experts, Program, Rope
from headrace.model.registry import build_program, builders
from tests.golden_cases import CASES, GOLDEN, config_of, describe


def build(case: str, **changes: object) -> Program:
    return build_program(config_of(case, **changes))


def windows(program: Program) -> list[int | None]:
    return [op.window for op in program.ops if isinstance(op, Attend)]


def test_an_unknown_architecture_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(CheckpointError) as refused:
        build_program({"architectures": ["MambaForCausalLM"]})
    for known in builders():
        assert known in str(refused.value)


def test_nothing_is_imported_by_the_name_in_a_config() -> None:
    for name in ("llama", "headrace.model.llama", "os", "registry"):
        with pytest.raises(CheckpointError, match="is not known"):
            build_program({**config_of("plain"), "architectures": [name]})


def test_the_first_known_of_several_architectures_is_built() -> None:
    several = ["LlamaForReadingTeaLeaves", "Qwen2ForCausalLM", "LlamaForCausalLM"]
    assert build("qwen2", architectures=several) == build("qwen2")


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_activation_is_refused(case: str) -> None:
    (key,) = {"hidden_act", "hidden_activation"} & set(config_of(case))
    with pytest.raises(CheckpointError, match=f"'{key}' 'relu'"):
        build(case, **{key: "relu"})


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("phi")])
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


def test_phi3_reads_rows_of_shared_tensors() -> None:
    program = build("phi3")
    tensors = program.weights()
    assert tensors["model.layers.0.self_attn.qkv_proj.weight"].shape == (112, 56)
    assert tensors["model.layers.0.mlp.gate_up_proj.weight"].shape == (90, 56)


@pytest.mark.parametrize("share", [0.05, 0.25, 1.5])
def test_phi3_turns_an_even_number_of_values(share: float) -> None:
    with pytest.raises(CheckpointError, match="'partial_rotary_factor'"):
        build("phi3", rope_parameters={"partial_rotary_factor": share})


@pytest.mark.parametrize("factors", [[1.0] * 5, [1.0] * 5 + ["6"], [1.0] * 5 + [True], 1.0, None])
def test_longrope_needs_a_factor_for_each_pair(factors: object) -> None:
    scaling = {**config_of("phi3_long")["rope_scaling"], "long_factor": factors}
    with pytest.raises(CheckpointError, match="'long_factor'"):
        build("phi3_long", rope_scaling=scaling)


def test_the_served_context_chooses_the_factors_once() -> None:
    config = config_of("phi3_short")
    original = config["rope_parameters"]["original_max_position_embeddings"]
    short, edge, long, whole = (
        build_program(config, context=context)
        for context in (original - 1, original, original + 1, None)
    )
    assert short.ops == edge.ops != long.ops == whole.ops
    assert (short.max_positions, whole.max_positions) == (original - 1, 4_096)
    assert build_program(config, context=1 << 20).max_positions == 4_096


def test_yarn_serves_the_context_it_stretches_to() -> None:
    config = config_of("qwen2_yarn")
    assert config["max_position_embeddings"] == 64
    assert build_program(config).max_positions == 4 * 64
    assert build_program(config, context=100).max_positions == 100


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_rotation_is_refused(case: str) -> None:
    changes: dict[str, object] = {"rope_scaling": {"rope_type": "spiral"}, "rope_parameters": None}
    with pytest.raises(CheckpointError, match="rope type 'spiral' is not known"):
        build(case, **changes)


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


@pytest.mark.parametrize(
    ("case", "first", "mixed"),
    [
        ("deepseek_v2", 1, "layers 1..1"),
        ("deepseek_v2", None, "layers 0..1"),
    ],
)
def test_deepseek_v2_with_experts_is_refused_by_name(case: str, first: object, mixed: str) -> None:
    with pytest.raises(CheckpointError, match=f"mixtures of experts of {mixed}"):
        build(case, first_k_dense_replace=first)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_group", 4),
        ("n_group", 8),
        ("topk_group", 5),
        ("num_experts_per_tok", 5),
        ("scoring_func", "softmax"),
        ("topk_method", "greedy"),
        ("moe_layer_freq", 2),
    ],
)
def test_deepseek_v3_refuses_what_it_does_not_compute(key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}'"):
        build("deepseek_v3_moe", **{key: value})


def test_deepseek_caches_one_latent_and_one_rotary_key_a_token() -> None:
    program = build("deepseek_v3")
    assert program.kv_bytes_per_token == 3 * 2 * (26 + 6)  # layers, bytes of bf16, values
    assert {(op.kv_heads, op.value_dim) for op in program.ops if isinstance(op, Attend)} == {
        (1, 26)
    }


@pytest.mark.parametrize(
    ("case", "key", "value"),
    [
        ("deepseek_v3", "kv_lora_rank", 25),
        ("deepseek_v2", "rope_interleave", False),
        ("deepseek_v3", "qk_rope_head_dim", 1),
        ("deepseek_v3", "q_lora_rank", 0),
    ],
)
def test_deepseek_sizes_it_cannot_compute_are_refused(case: str, key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}'"):
        build(case, **{key: value})


def test_gpt_oss_slides_in_every_other_layer_unless_told_otherwise() -> None:
    silent = config_of("gpt_oss", layer_types=None, sliding_window=None, num_hidden_layers=3)
    assert windows(build_program(silent)) == [128, None, 128]
    told = ["full_attention", "sliding_attention"]
    assert windows(build("gpt_oss", layer_types=told, sliding_window=9)) == [None, 9]


def test_gpt_oss_reads_what_a_silent_config_means() -> None:
    released = {"rope_type": "yarn", "factor": 32.0, "truncate": False, "rope_theta": 150_000.0}
    released["original_max_position_embeddings"] = 4_096
    spoken = config_of("gpt_oss", rope_parameters=released, max_position_embeddings=131_072)
    silent = {**spoken, "rope_parameters": None}
    assert build_program(spoken) == build_program(silent)
    assert {round(op.scale, 4) for op in build_program(silent).ops if isinstance(op, Rope)} == {
        1.3466
    }
    old = {key: value for key, value in released.items() if key != "rope_theta"}
    assert build_program({**silent, "rope_scaling": old}) == build_program(silent)


def test_gpt_oss_clamps_as_its_config_says() -> None:
    clamps = [
        {op.clamp for op in program.ops if isinstance(op, Experts)}
        for program in (
            build("gpt_oss", swiglu_limit=3.0, swiglu_alpha=1.0),
            build("gpt_oss", swiglu_limit=None, swiglu_alpha=None),
        )
    ]
    assert clamps == [
        {ClampedSwiglu(alpha=1.0, limit=3.0)},
        {ClampedSwiglu(alpha=1.702, limit=7.0)},
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "'quant_method' 'fp8'"),
        ({"hidden_size": 80}, "'hidden_size' 80"),
        ({"intermediate_size": 48}, "'intermediate_size' 48"),
        ({"num_experts_per_tok": 9}, "'num_experts_per_tok'"),
        ({"swiglu_limit": -1.0}, "'swiglu_limit'"),
    ],
)
def test_gpt_oss_refuses_what_it_does_not_compute(changes: dict[str, object], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        build("gpt_oss_mxfp4", **changes)


def test_gpt_oss_experts_are_where_the_config_says() -> None:
    plain = build("gpt_oss_mxfp4", quantization_config=None)
    with pytest.raises(CheckpointError, match=r"experts\.gate_up_proj' is missing"):
        open_checkpoint(GOLDEN / "gpt_oss_mxfp4").weights.require(plain)


RELEASED = {
    released["name"]: released for case in CASES for released in describe(case).get("released", ())
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_sizes_give_the_released_number_of_parameters(name: str) -> None:
    released = RELEASED[name]
    assert build_program(released["config"]).num_parameters == released["parameters"]
