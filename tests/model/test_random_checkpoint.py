"""The tool that writes folders too big to ship, on a small shape: whole, in shards, and finite."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from headrace.backends.reference import ReferenceBackend
from headrace.model import open_checkpoint, open_model
from headrace.model.registry import build_program
from tests.tiny_llama import rows_batch, scrambled_tables

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 5_000,
}
SHARD_BYTES = 100_000


def tool() -> ModuleType:
    file = Path(__file__).parents[2] / "tools" / "make_random_checkpoint.py"
    spec = importlib.util.spec_from_file_location("make_random_checkpoint", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_gpt_oss_folder_has_four_bits_a_weight_of_its_experts(tmp_path: Path) -> None:
    made = tool()
    changes = {"num_local_experts": 5, "num_hidden_layers": 4, "vocab_size": 5_000}
    sizes = {**changes, "hidden_size": 96, "intermediate_size": 64, "num_attention_heads": 16}
    total = made.write_checkpoint(tmp_path, {**made.GPT_OSS, **sizes}, shard_bytes=SHARD_BYTES)
    model = open_model(tmp_path)
    experts = 4 * 5 * 3 * 96 * 64
    assert total == 2 * (model.program.num_parameters - experts) + experts * 17 // 32
    backend = ReferenceBackend(model.program, model.weights, num_blocks=4)
    result = backend.step(rows_batch({0: (0, list(range(40, 80)))}, scrambled_tables(1, 40, 4)))
    assert result.logits is not None
    assert 0.1 < float(np.std(result.logits[:, :4_080])) < 10
    assert (result.token_ids < 4_080).all()


@pytest.mark.parametrize(("shape", "gigabytes"), [("gpt-oss-20b", 13.8), ("gpt-oss-120b", 65.2)])
def test_the_published_shapes_have_the_published_size(shape: str, gigabytes: float) -> None:
    made = tool()
    tensors = build_program(made.SHAPES[shape]).weights().values()
    assert round(sum(map(made.stored_bytes, tensors)) / 1e9, 1) == gigabytes


def test_a_folder_is_whole_cut_as_asked_and_its_answers_are_text(tmp_path: Path) -> None:
    made = tool()
    folder = tmp_path / "m"
    total = made.write_checkpoint(folder, {**made.LLAMA_3, **SMALL}, shard_bytes=SHARD_BYTES)
    shards = sorted(folder.glob("*.safetensors"))
    sizes = [file.stat().st_size for file in shards]
    assert total == 2 * open_model(folder).program.num_parameters
    assert total < sum(sizes) < total + len(shards) * 4_000  # headers
    large = 2 * SMALL["vocab_size"] * SMALL["hidden_size"]  # the table and the head, alone
    assert sorted(sizes)[-3] < SHARD_BYTES + 4_000 < large
    model = open_model(folder)
    assert model.program.max_positions == 131_072
    backend = ReferenceBackend(model.program, model.weights, num_blocks=4)
    batch = rows_batch({0: (0, list(range(40, 80)))}, scrambled_tables(1, 40, 4))
    result = backend.step(batch)
    assert result.logits is not None
    assert 0.1 < float(np.std(result.logits[:, :4_080])) < 10
    assert (result.token_ids < 4_080).all()  # no end, no unused id


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    made = tool()
    config = {**made.LLAMA_3, **SMALL}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made.write_checkpoint(tmp_path / name, config, seed=seed)
    a, b, c = (open_checkpoint(tmp_path / name).weights["lm_head.weight"][:] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.9


@pytest.mark.parametrize(("shape", "megabytes"), [("5m", 10.4), ("15m", 28.3)])
def test_the_shapes_for_the_caches_have_the_size_they_are_named_by(
    tmp_path: Path, shape: str, megabytes: float
) -> None:
    made = tool()
    total = made.write_checkpoint(tmp_path, made.SHAPES[shape])
    assert round(total / 1e6, 1) == megabytes
    model = open_model(tmp_path)
    assert round(model.program.bytes_per_token() / 1e6, 1) == megabytes  # a step reads all of it
