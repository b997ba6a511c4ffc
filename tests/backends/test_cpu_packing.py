"""A checkpoint in many files: what is packed is let go, and nothing of it stays open."""

from pathlib import Path

import numpy as np

from headrace.backends.cpu import CpuBackend
from headrace.backends.registry import load_backend
from headrace.model import open_checkpoint
from headrace.model.registry import build_program
from tests.resident import is_mapped, resident_bytes
from tests.tiny_folder import write_folder

SHARDS = 7
# About 15 MB in matrices of 0.5 MB.
LARGER = {
    "hidden_size": 512,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 512,
}
MATRIX_BYTES = 2 * 512 * 512


def test_pages_are_let_go_tensor_by_tensor(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", shards=SHARDS, **LARGER)
    checkpoint = open_checkpoint(folder)
    program = build_program(checkpoint.config)
    resident: list[int] = []

    def look(_: int, __: int) -> None:
        resident.append(resident_bytes(folder))

    backend = CpuBackend(program, checkpoint.weights, num_blocks=1, threads=2, progress=look)
    matrices = [name for name, weight in program.weights().items() if len(weight.shape) == 2]
    assert len(resident) == len(matrices)
    # The kernel maps up to a huge page around a tensor's ends.
    assert max(resident) <= 6 * MATRIX_BYTES
    for name in matrices:
        np.testing.assert_array_equal(backend.unpack(name), checkpoint.weights[name])
    assert resident_bytes(folder) > 20 * MATRIX_BYTES  # reading them here mapped all


def test_no_file_stays_open_after_loading(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", shards=SHARDS)
    checkpoint = open_checkpoint(folder)
    program = build_program(checkpoint.config)
    for name in ("cpu", "reference", "null"):
        load_backend(name, program, checkpoint.weights, num_blocks=1)
        assert not is_mapped(folder)
        opened = {link.resolve() for link in Path("/proc/self/fd").iterdir()}
        assert not {file for file in opened if file.is_relative_to(folder)}
    assert checkpoint.weights["lm_head.weight"].shape == program.weights()["lm_head.weight"].shape
