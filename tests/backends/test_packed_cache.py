"""Packed weights from disk: the same bits as packed anew, or packed anew."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.cpu import CpuBackend, PackedCache
from headrace.backends.cpu.packed_cache import LENGTH_BYTES, SPARE_BYTES
from headrace.config import EngineConfig, PackedCaching
from headrace.engine import build_backend
from headrace.model import open_checkpoint
from headrace.model.registry import build_program
from headrace.types import Dtype
from tests.backends.cpu_cases import ISAS, logits_of, tokens
from tests.tiny_folder import write_folder, write_safetensors
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

NUM_BLOCKS = 8
TABLES = scrambled_tables(1, 64, num_blocks=NUM_BLOCKS)
MISS, HIT = "checkpoint, packed weights kept", "packed cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "m", shards=3)


@pytest.fixture
def cache(tmp_path: Path) -> PackedCache:
    return PackedCache(tmp_path / "packed")


def loaded(
    folder: Path, cache: PackedCache | None, *, dtype: Dtype = Dtype.STORED, **options: Any
) -> CpuBackend:
    checkpoint = open_checkpoint(folder, dtype=dtype)
    program = build_program(checkpoint.config)
    options = {"threads": 2, "num_blocks": NUM_BLOCKS, **options}
    return CpuBackend(program, checkpoint.weights, packed=cache, **options)


def source(backend: CpuBackend) -> str:
    return backend.report().loaded_from


def logits(backend: CpuBackend) -> NDArray[np.float32]:
    prompt = tokens(backend.program, 20)
    return logits_of(backend.step(rows_batch({0: (0, prompt)}, TABLES)))


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "packed").iterdir())


def assert_same(backend: CpuBackend, expected: CpuBackend) -> None:
    weights = backend.program.weights()
    for name in (name for name, weight in weights.items() if len(weight.shape) == 2):
        np.testing.assert_array_equal(backend.unpack(name), expected.unpack(name))
    np.testing.assert_array_equal(logits(backend), logits(expected))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_read_is_what_was_packed(
    folder: Path, cache: PackedCache, isa: str, threads: int
) -> None:
    plain = loaded(folder, None, isa=isa, threads=threads)
    first = loaded(folder, cache, isa=isa, threads=threads)
    second = loaded(folder, cache, isa=isa, threads=threads)
    assert [source(b) for b in (plain, first, second)] == [f"{MISS[:27]}not kept", MISS, HIT]
    assert_same(first, plain)
    assert_same(second, plain)


@pytest.fixture
def mapping(tmp_path: Path) -> PackedCache:
    """A cache whose weights are mapped, however small."""
    return PackedCache(tmp_path / "packed", mapped_bytes=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_mapped_is_what_was_packed(
    folder: Path, mapping: PackedCache, tmp_path: Path, isa: str, threads: int
) -> None:
    first = loaded(folder, mapping, isa=isa, threads=threads)
    second = loaded(folder, mapping, isa=isa, threads=threads)
    assert [source(b) for b in (first, second)] == [MISS, HIT]
    (file,) = kept(tmp_path)
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert sum(str(file) in line for line in maps) == threads, "each worker's part is the file"
    assert_same(second, first)


def test_a_mapped_file_that_is_not_sound_is_packed_again(
    folder: Path, mapping: PackedCache, tmp_path: Path
) -> None:
    plain = loaded(folder, mapping)
    (file,) = kept(tmp_path)
    sound = file.read_bytes()
    trailer = int.from_bytes(sound[-LENGTH_BYTES:], "little") + LENGTH_BYTES
    last = len(sound) - trailer - 1  # the last worker's last byte
    for offset in (0, 777, last):
        broken = bytearray(sound)
        broken[offset] ^= 8
        file.unlink()  # not written over: somebody may have it mapped
        file.write_bytes(broken)
        again = loaded(folder, mapping)
        assert source(again) == MISS, offset
        assert_same(again, plain)
    file.unlink()
    file.write_bytes(sound[: len(sound) // 4] + sound[-trailer:])  # digests of more than there is
    assert source(loaded(folder, mapping)) == MISS
    assert source(loaded(folder, mapping)) == HIT


def test_a_hit_reports_every_byte(folder: Path, cache: PackedCache) -> None:
    loaded(folder, cache)
    heard: list[tuple[int, int]] = []
    backend = loaded(folder, cache, progress=lambda *p: heard.append(p))
    assert source(backend) == HIT
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1] > 0


def test_any_flipped_byte_is_found_and_the_weights_are_packed_again(
    folder: Path, cache: PackedCache, tmp_path: Path
) -> None:
    plain = loaded(folder, cache)
    (file,) = kept(tmp_path)
    sound = file.read_bytes()
    rng = np.random.default_rng(0)
    trailer = int.from_bytes(sound[-LENGTH_BYTES:], "little") + LENGTH_BYTES
    offsets = [0, *rng.integers(0, len(sound) - trailer, 10).tolist()]
    digests = sound.rindex(b'"digests"')
    offsets += [len(sound) - trailer, digests + 1, digests + 20, len(sound) - 1]
    for offset in offsets:
        broken = bytearray(sound)
        broken[offset] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        again = loaded(folder, cache)
        assert source(again) == MISS, offset
        assert_same(again, plain)
        assert file.read_bytes() == sound


def test_a_file_that_is_not_whole_is_packed_again(
    folder: Path, cache: PackedCache, tmp_path: Path
) -> None:
    plain = loaded(folder, cache)
    (file,) = kept(tmp_path)
    sound = file.read_bytes()
    empty = b'{"digests": []}' + (15).to_bytes(8, "little")
    words = b'{"digests": 7}' + (14).to_bytes(8, "little")
    for broken in (b"", sound[:5], sound[:-1], sound[: len(sound) // 2], sound[9:], empty, words):
        file.write_bytes(broken)
        again = loaded(folder, cache)
        assert source(again) == MISS
        assert_same(again, plain)
    assert source(loaded(folder, cache)) == HIT


def test_another_layout_or_another_checkpoint_is_another_entry(
    folder: Path, cache: PackedCache
) -> None:
    loaded(folder, cache)
    assert source(loaded(folder, cache, threads=1)) == MISS
    assert source(loaded(folder, cache, isa="scalar")) == MISS
    assert source(loaded(folder, cache, dtype=Dtype.BF16)) == MISS
    assert source(loaded(folder, cache, dtype=Dtype.BF16)) == HIT
    shard = folder / "model-00002-of-00003.safetensors"
    facts = shard.stat()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # of the same size and date, too
    plain = loaded(folder, None)
    changed = loaded(folder, cache, dtype=Dtype.BF16)
    assert source(changed) == MISS
    assert_same(changed, plain)


def test_a_checkpoint_has_one_entry(folder: Path, cache: PackedCache, tmp_path: Path) -> None:
    loaded(folder, cache)
    other = shutil.copytree(folder, tmp_path / "other")
    assert source(loaded(other, cache)) == MISS
    assert len(kept(tmp_path)) == 2
    loaded(folder, cache, threads=1)
    assert len(kept(tmp_path)) == 2
    assert source(loaded(other, cache)) == HIT


def test_a_disk_that_is_nearly_full_keeps_nothing(folder: Path, tmp_path: Path) -> None:
    size = loaded(folder, None).report().weight_bytes
    for spare, is_kept in ((0, False), (SPARE_BYTES - 1, False), (size + SPARE_BYTES, True)):
        free = spare
        cache = PackedCache(tmp_path / "packed", free_bytes=lambda _, free=free: free)
        said = source(loaded(folder, cache))
        assert (said == MISS) == is_kept
        assert is_kept or "would leave too little of the disk" in said
        assert bool(kept(tmp_path)) == is_kept


def test_a_disk_that_fills_up_meanwhile_fails_nothing(
    folder: Path, cache: PackedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    backend = loaded(folder, cache)
    assert "No space left" in source(backend)
    assert kept(tmp_path) == []
    assert_same(backend, loaded(folder, None))


def test_a_home_that_cannot_be_written_fails_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "not kept" in source(loaded(folder, PackedCache(tmp_path / "file" / "packed")))


def test_two_who_load_at_once_do_not_write_into_one_another(
    folder: Path, cache: PackedCache, tmp_path: Path
) -> None:
    loaded(folder, cache)
    (file,) = kept(tmp_path)
    sound = file.read_bytes()
    mine = file.with_name(file.name + ".part")
    file.rename(mine)
    abandoned = file.with_name("someone.part")
    abandoned.write_bytes(b"left by a process that was killed")
    with mine.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is writing it" in source(loaded(folder, cache))
        assert mine.read_bytes() == sound
        assert not abandoned.exists()
    assert source(loaded(folder, cache)) == MISS
    assert kept(tmp_path) == [file]


def test_weights_that_lie_in_no_files_are_not_kept(cache: PackedCache, tmp_path: Path) -> None:
    program = tiny_program()
    backend = CpuBackend(program, random_weights(program), num_blocks=1, packed=cache)
    assert source(backend).endswith("not kept")
    assert not (tmp_path / "packed").exists()


def as_fp32(folder: Path) -> Path:
    checkpoint = open_checkpoint(folder)
    wide = {
        name: ("F32", (checkpoint.weights[name][:].astype(np.uint32) << 16).view(np.float32))
        for name in checkpoint.weights
    }
    for file in folder.glob("model*"):
        file.unlink()
    write_safetensors(folder / "model.safetensors", wide)
    return folder


@pytest.mark.parametrize("caching", list(PackedCaching))
@pytest.mark.parametrize("rounds", [False, True])
def test_by_itself_it_is_for_weights_that_are_rounded(
    folder: Path, tmp_path: Path, caching: PackedCaching, rounds: bool
) -> None:
    stored = open_checkpoint(as_fp32(folder) if rounds else folder, dtype=Dtype.BF16)
    program = build_program(stored.config)
    config = EngineConfig(packed_cache=caching, kv_tokens=64, threads=2)
    home = tmp_path / "home"
    said = [
        build_backend(program, stored.weights, config, home=home).report().loaded_from
        for _ in range(2)
    ]
    wanted = caching is PackedCaching.ON or (caching is PackedCaching.AUTO and rounds)
    assert (said == [MISS, HIT]) == wanted
    assert (home / "packed").exists() == wanted


def test_the_trailer_names_the_checkpoint(folder: Path, cache: PackedCache, tmp_path: Path) -> None:
    loaded(folder, cache)
    (file,) = kept(tmp_path)
    data = file.read_bytes()
    length = int.from_bytes(data[-LENGTH_BYTES:], "little")
    trailer = json.loads(data[-LENGTH_BYTES - length : -LENGTH_BYTES])
    assert trailer["folder"] == str(folder)
