"""A checkpoint in many files: what is packed is let go, and nothing of it stays open."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend
from headrace.backends.registry import load_backend
from headrace.model import open_checkpoint
from headrace.model.registry import build_program
from headrace.types import Dtype
from tests.resident import is_mapped, resident_bytes
from tests.tiny_folder import write_folder

SHARDS = 7
# About 15 MB in matrices of 0.5 MB.
LARGER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 512,
}
MATRIX_VALUES = 512 * 512


@pytest.mark.parametrize(
    ("word", "stored_bytes", "dtype"),
    [("BF16", 2, Dtype.STORED), ("F16", 2, Dtype.STORED), ("F32", 4, Dtype.BF16)],
)
def test_pages_are_let_go_tensor_by_tensor(
    tmp_path: Path, word: str, stored_bytes: int, dtype: Dtype
) -> None:
    folder = write_folder(tmp_path / "m", shards=SHARDS, matrices=word, **LARGER)
    checkpoint = open_checkpoint(folder, dtype=dtype)
    matrix_bytes = stored_bytes * MATRIX_VALUES
    program = build_program(checkpoint.config)
    resident: list[int] = []

    def look(_: int, __: int) -> None:
        resident.append(resident_bytes(folder))

    backend = CpuBackend(program, checkpoint.weights, num_blocks=1, threads=2, progress=look)
    matrices = [name for name, weight in program.weights().items() if len(weight.shape) == 2]
    assert len(resident) == len(matrices)
    # The kernel maps up to a huge page around a tensor's ends.
    assert max(resident) <= 6 * matrix_bytes
    for name in matrices:
        np.testing.assert_array_equal(backend.unpack(name), checkpoint.weights[name][:])
    assert resident_bytes(folder) > 20 * matrix_bytes  # reading them here mapped all


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
