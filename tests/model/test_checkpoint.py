"""Model folders, whole and broken: every refusal is one sentence that names the culprit."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.errors import CheckpointError
from headrace.model import Program, build_program, open_checkpoint, open_model
from headrace.model.precision import round_to_bf16
from headrace.types import Dtype
from tests.golden_cases import GOLDEN
from tests.tiny_folder import as_word, write_folder, write_safetensors
from tests.tiny_llama import random_values, random_weights

WEIGHTS = "model.safetensors"
QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


def rewrite_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("shards", "matrices", "vectors"),
    [
        (1, "BF16", "BF16"),
        (3, "BF16", "BF16"),
        (1, "F16", "F16"),
        (2, "F16", "F32"),
        (2, "BF16", "F32"),
    ],
)
def test_weights_are_the_stored_bits_mapped_not_copied(
    tmp_path: Path, shards: int, matrices: str, vectors: str
) -> None:
    folder = write_folder(tmp_path / "m", shards=shards, matrices=matrices, vectors=vectors)
    checkpoint = open_checkpoint(folder)
    program = build_program(checkpoint.config)
    checkpoint.weights.require(program)
    expected = random_values(program)
    assert set(checkpoint.weights) == set(expected)
    for name, values in expected.items():
        found = checkpoint.weights[name]
        assert isinstance(found, np.ndarray)
        wanted = as_word(values, matrices if values.ndim > 1 else vectors)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        assert not found.flags.owndata
        assert not found.flags.writeable


def test_a_misaligned_tensor_is_still_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    bits = np.arange(6, dtype=np.uint16)
    odd = {"pad": ("U8", np.zeros(3, np.uint8)), "x": ("BF16", bits.reshape(2, 3))}
    write_safetensors(folder / WEIGHTS, odd)
    tensor = open_checkpoint(folder).weights["x"]
    assert isinstance(tensor, np.ndarray)
    np.testing.assert_array_equal(tensor, bits.reshape(2, 3))
    assert tensor.flags.aligned


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def corrupt_header(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[:8] = (1 << 40).to_bytes(8, "little")
    (folder / WEIGHTS).write_bytes(bytes(data))


def overlap(folder: Path) -> None:
    header = {
        "a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [4, 12]},
    }
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))


def leave_a_pickle_only(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": 1}))


BREAKAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no folder": (lambda f: f.rename(f.parent / "away"), ["is not a folder", "config.json"]),
    "no config": (lambda f: (f / "config.json").unlink(), ["config.json is missing"]),
    "bad json": (lambda f: (f / "config.json").write_text("{'a': 1}"), ["config.json", "JSON"]),
    "deep json": (lambda f: (f / "config.json").write_text("[" * 200_000), ["config.json", "JSON"]),
    "not an object": (lambda f: (f / "config.json").write_text("[1]"), ["config.json", "object"]),
    "not text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{"), ["config.json"]),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), [WEIGHTS, "missing"]),
    "pickle": (leave_a_pickle_only, ["pytorch_model.bin", "pickle", "safetensors"]),
    "truncated": (truncate, [WEIGHTS, "not a whole safetensors file"]),
    "header length": (corrupt_header, [WEIGHTS, "not a whole safetensors file"]),
    "overlap": (overlap, [WEIGHTS, "not a whole safetensors file"]),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), [WEIGHTS]),
    "bad generation": (
        lambda f: (f / "generation_config.json").write_text("nope"),
        ["generation_config.json"],
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_folder_is_refused_in_one_sentence_naming_the_file(
    tmp_path: Path, breakage: str
) -> None:
    folder = write_folder(tmp_path / "m")
    break_it, words = BREAKAGES[breakage]
    break_it(folder)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def change_index(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    change(index["weight_map"])
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


INDEX_BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "model-00002"),
    "elsewhere": (lambda f: change_index(f, lambda m: m.update({QUERY: "../x"})), "not a file of"),
    "absolute": (lambda f: change_index(f, lambda m: m.update({QUERY: "/x"})), "not a file of"),
    "a number": (lambda f: change_index(f, lambda m: m.update({QUERY: 3})), "not a file of"),  # type: ignore[dict-item]
    "other shard": (
        lambda f: change_index(f, lambda m: m.update({"lost": "model-00001-of-00002.safetensors"})),
        "'lost'",
    ),
    "empty map": (lambda f: change_index(f, lambda m: m.clear()), "weight_map"),
}


@pytest.mark.parametrize("breakage", INDEX_BREAKAGES)
def test_a_broken_index_is_refused(tmp_path: Path, breakage: str) -> None:
    folder = write_folder(tmp_path / "m", shards=2)
    break_it, word = INDEX_BREAKAGES[breakage]
    break_it(folder)
    with pytest.raises(CheckpointError, match=word):
        open_checkpoint(folder)


def test_require_names_a_missing_tensor(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    rewrite_config(folder, num_hidden_layers=3)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"'model\.layers\.2\..*' is missing"):
        checkpoint.weights.require(build_program(checkpoint.config))


def test_require_names_a_wrong_shape_before_anything_is_allocated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    rewrite_config(folder, intermediate_size=1 << 24)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(
        CheckpointError, match=r"gate_proj.*model\.safetensors.*\[80, 48\].*16777216"
    ):
        checkpoint.weights.require(build_program(checkpoint.config))


def store_as(folder: Path, name: str, word: str, array: NDArray[np.generic]) -> Program:
    """Rewrites the folder with tensor `name` stored as `array`; its program."""
    program = build_program(open_checkpoint(folder).config)
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {
        each: ("BF16", bits) for each, bits in random_weights(program).items()
    }
    write_safetensors(folder / WEIGHTS, {**stored, name: (word, array)})
    return program


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("name", [QUERY, NORM])
@pytest.mark.parametrize(
    ("word", "array"),
    [
        ("F64", np.float64),
        ("F8_E4M3", np.uint8),
        ("F8_E5M2", np.uint8),
        ("I8", np.int8),
        ("I32", np.int32),
        ("U8", np.uint8),
    ],
)
def test_other_number_formats_are_refused_naming_tensor_format_and_file(
    tmp_path: Path, word: str, array: type[np.generic], name: str, dtype: Dtype
) -> None:
    folder = write_folder(tmp_path / "m")
    shape = (48, 48) if name == QUERY else (48,)
    program = store_as(folder, name, word, np.zeros(shape, array))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder, dtype=dtype).weights.require(program)
    assert all(part in str(caught.value) for part in (name, word, WEIGHTS, "BF16, F16, F32"))


@pytest.mark.parametrize("part", ["blocks", "scales"])
def test_numbers_where_mxfp4_is_asked_for_are_refused(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "m"
    shutil.copytree(GOLDEN / "gpt_oss_mxfp4", folder)
    weights = open_checkpoint(folder).weights
    found = {each: weights[each][:] for each in weights}
    words = {each: "U8" if bits.dtype == np.uint8 else "BF16" for each, bits in found.items()}
    stored = {each: (words[each], np.array(bits)) for each, bits in found.items()}
    name = f"model.layers.0.mlp.experts.down_proj_{part}"
    stored[name] = "F16", found[name].astype(np.float16)
    weights.close()
    write_safetensors(folder / WEIGHTS, stored)
    with pytest.raises(CheckpointError) as caught:
        open_model(folder)
    assert all(word in str(caught.value) for word in (name, "F16", WEIGHTS, "MXFP4"))


def test_one_fp32_matrix_is_refused_naming_the_way_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    program = store_as(folder, QUERY, "F32", np.zeros((48, 48), np.float32))
    weights = open_checkpoint(folder).weights
    with pytest.raises(CheckpointError) as caught:
        weights.require(program)
    parts = (QUERY, "F32", WEIGHTS, "--dtype bf16", "engine.dtype")
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="--dtype bf16"):
        weights[QUERY]


@pytest.mark.parametrize(
    ("matrices", "vectors", "stored", "rounded"),
    [
        ("BF16", "BF16", "bf16, as stored", "bf16, as stored"),
        ("BF16", "F32", "bf16, as stored", "bf16, as stored"),
        ("F16", "F32", "fp16, as stored", "bf16, rounded from fp16"),
        ("F32", "F32", "", "bf16, rounded from fp32"),
    ],
)
def test_with_dtype_bf16_matrices_are_rounded_and_vectors_are_not(
    tmp_path: Path, matrices: str, vectors: str, stored: str, rounded: str
) -> None:
    folder = write_folder(tmp_path / "m", matrices=matrices, vectors=vectors)
    if stored:
        assert open_model(folder).precision == stored
    else:
        with pytest.raises(CheckpointError, match="--dtype bf16"):
            open_model(folder)
    model = open_model(folder, dtype=Dtype.BF16)
    assert model.precision == rounded
    for name, values in random_values(model.program).items():
        found = model.weights[name]
        word = matrices if values.ndim > 1 else vectors
        expected: NDArray[np.generic] = as_word(values, word)
        if values.ndim > 1 and word != "BF16":
            expected = round_to_bf16(expected.astype(np.float32))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found[:], expected)


def test_a_checkpoint_of_several_formats_says_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    store_as(folder, QUERY, "F16", np.ones((48, 48), np.float16))
    assert open_model(folder).precision == "bf16 and fp16, as stored"
    partly = "bf16, partly rounded from fp16"
    assert open_model(folder, dtype=Dtype.BF16).precision == partly


def test_tensors_no_program_asks_for_may_have_any_precision(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    program = build_program(open_checkpoint(folder).config)
    stored = {name: ("BF16", bits) for name, bits in random_weights(program).items()}
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", np.zeros(4, np.float32))}
    write_safetensors(folder / WEIGHTS, {**stored, **extra})
    open_checkpoint(folder).weights.require(program)


@given(
    at=st.integers(0, 2_999),
    patch=st.one_of(
        st.binary(min_size=1, max_size=12),
        st.sampled_from([b"-1", b"1e9", b'"F32"', b"null", b"[]", b"{}", b"9" * 10, b"]]", b'"a"']),
    ),
)
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: int, patch: bytes
) -> None:
    folder = write_folder(tmp_path_factory.getbasetemp() / "damaged")
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[at : at + len(patch)] = patch
    (folder / WEIGHTS).write_bytes(data)
    message = ""
    try:
        checkpoint = open_checkpoint(folder)
        checkpoint.weights.require(build_program(checkpoint.config))
    except CheckpointError as error:
        message = str(error)
    assert not message or str(folder) in message


def test_a_huge_json_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "m")
    monkeypatch.setattr("headrace.model.json_file.MAX_JSON_BYTES", 100)
    with pytest.raises(CheckpointError, match=r"config\.json has \d+ bytes, more than 100"):
        open_checkpoint(folder)


def test_code_named_by_the_configuration_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "m", auto_map={"AutoModelForCausalLM": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(folder))
    checkpoint = open_checkpoint(folder)
    assert build_program(checkpoint.config).vocab_size == 300
