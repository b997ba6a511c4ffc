"""What is planned is what a loaded backend reports, padding included."""

import pytest

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.footprint import footprint
from headrace.backends.registry import Options, load_backend
from headrace.model.registry import build_program
from tests.golden_cases import describe
from tests.tiny_llama import random_weights, tiny_program

NUM_BLOCKS = 40
HUGE_PAGE = 2 << 20  # a cache is rounded up to it


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"hidden_size": 45, "intermediate_size": 51, "head_dim": 10, "vocab_size": 333},
        {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 96},
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_plan_agrees_with_the_loaded_backend(changes: dict[str, object], threads: int) -> None:
    program = tiny_program(**changes)
    weights = random_weights(program)
    for name in ("cpu", "reference"):
        planned = footprint(name, program)
        report = load_backend(
            name, program, weights, num_blocks=NUM_BLOCKS, options=Options(threads=threads)
        ).report()
        assert planned.weight_bytes == report.weight_bytes
        kv_bytes = NUM_BLOCKS * BLOCK_TOKENS * planned.kv_bytes_per_token
        assert kv_bytes <= report.kv_bytes <= kv_bytes + HUGE_PAGE
        assert planned.working_bytes > 0


def test_a_mesh_that_is_full_holds_what_was_planned() -> None:
    program = tiny_program(hidden_size=45, head_dim=10, vocab_size=333)
    planned = footprint("wafer", program, mesh="7x5")
    assert planned.most_kv_tokens is not None
    report = load_backend(
        "wafer",
        program,
        random_weights(program),
        num_blocks=planned.most_kv_tokens // BLOCK_TOKENS,
        options=Options(mesh="7x5"),
    ).report()
    assert planned.weight_bytes == report.weight_bytes
    assert planned.most_kv_tokens * planned.kv_bytes_per_token == report.kv_bytes


def test_the_null_backend_holds_nothing() -> None:
    planned = footprint("null", tiny_program())
    assert (planned.weight_bytes, planned.kv_bytes_per_token) == (0, 0)


def test_gpt_oss_120b_fits_a_card_of_141_gb_with_four_whole_contexts() -> None:
    (released,) = describe("gpt_oss_mxfp4")["released"]
    planned = footprint("cuda", build_program(released["config"]))
    assert planned.weight_bytes == pytest.approx(65.25e9, rel=1e-3)  # as published
    whole = planned.weight_bytes + planned.working_bytes
    assert whole + 4 * 131_072 * planned.kv_bytes_per_token < 141e9
