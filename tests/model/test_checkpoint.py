"""Model folders, whole and broken: every refusal is one sentence that names the culprit."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import CheckpointError
from headrace.model import build_program, open_checkpoint
from tests.tiny_folder import write_folder, write_safetensors
from tests.tiny_llama import random_weights

WEIGHTS = "model.safetensors"
QUERY = "model.layers.0.self_attn.q_proj.weight"


def rewrite_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("shards", [1, 3])
def test_weights_are_the_stored_bits_mapped_not_copied(tmp_path: Path, shards: int) -> None:
    checkpoint = open_checkpoint(write_folder(tmp_path / "m", shards=shards))
    program = build_program(checkpoint.config)
    checkpoint.weights.require(program)
    expected = random_weights(program)
    assert set(checkpoint.weights) == set(expected)
    for name, bits in expected.items():
        np.testing.assert_array_equal(checkpoint.weights[name], bits)
        assert not checkpoint.weights[name].flags.owndata
        assert not checkpoint.weights[name].flags.writeable


def test_a_misaligned_tensor_is_still_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    bits = np.arange(6, dtype=np.uint16)
    odd = {"pad": ("U8", np.zeros(3, np.uint8)), "x": ("BF16", bits.reshape(2, 3))}
    write_safetensors(folder / WEIGHTS, odd)
    tensor = open_checkpoint(folder).weights["x"]
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


@pytest.mark.parametrize(("word", "dtype"), [("F16", np.float16), ("F32", np.float32)])
def test_require_refuses_other_precisions_naming_tensor_dtype_and_file(
    tmp_path: Path, word: str, dtype: type[np.generic]
) -> None:
    folder = write_folder(tmp_path / "m")
    checkpoint = open_checkpoint(folder)
    program = build_program(checkpoint.config)
    stored = {
        name: (word, np.zeros(weight.shape, dtype)) if name == QUERY else ("BF16", bits)
        for (name, weight), bits in zip(
            program.weights().items(), random_weights(program).values(), strict=True
        )
    }
    write_safetensors(folder / WEIGHTS, stored)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder).weights.require(program)
    assert all(part in str(caught.value) for part in (QUERY, word, WEIGHTS))


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
