"""Pages of a mapped file, as the kernel counts them."""

import errno
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from headrace.model.mapped_file import MappedFile
from tests.resident import is_mapped, resident_bytes

SIZE = 1 << 20


def made(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "file"
    data = np.random.default_rng(0).bytes(SIZE + 123)
    path.write_bytes(data)
    with path.open("rb") as file:
        os.fsync(file.fileno())  # a page that is not on disk yet cannot leave the page cache
    return path, data


def in_page_cache(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:  # as tmpfs has it: its files are the page cache
                raise
            pytest.skip("this file system does not say what it caches")


def test_pages_that_were_read_are_let_go_and_come_back(tmp_path: Path) -> None:
    path, data = made(tmp_path)
    file = MappedFile(path)
    file.will_read(0, SIZE)
    assert file.bytes.tobytes() == data
    assert resident_bytes(path) >= SIZE
    file.was_read(mmap.PAGESIZE + 1, SIZE)
    assert resident_bytes(path) <= 2 * mmap.PAGESIZE
    assert file.bytes.tobytes() == data


def test_an_empty_range_is_nothing_to_let_go_of(tmp_path: Path) -> None:
    path, data = made(tmp_path)
    file = MappedFile(path)
    assert file.bytes.tobytes() == data
    file.was_read(SIZE, SIZE)
    assert resident_bytes(path) >= SIZE


def test_a_file_that_does_not_fit_leaves_the_page_cache(tmp_path: Path) -> None:
    path, _ = made(tmp_path)
    for keeps_cache in (True, False):
        file = MappedFile(path, keeps_cache=keeps_cache)
        assert file.bytes.sum() > 0
        assert in_page_cache(path, SIZE // 2)
        file.was_read(0, SIZE)
        assert in_page_cache(path, SIZE // 2) == keeps_cache


def test_a_closed_file_is_mapped_again_when_asked(tmp_path: Path) -> None:
    path, data = made(tmp_path)
    file = MappedFile(path)
    early = file.bytes
    file.close()
    assert early.tobytes() == data  # whoever still holds an array may read it
    del early
    assert not is_mapped(path)
    file.was_read(0, SIZE)
    assert not is_mapped(path)
    assert file.bytes.tobytes() == data
    assert not file.bytes.flags.writeable
