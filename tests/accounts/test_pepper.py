import stat
from pathlib import Path

import pytest

from headrace.accounts import load_pepper
from headrace.errors import ConfigError


def fixed(count: int) -> bytes:
    return b"\x07" * count


def other(count: int) -> bytes:
    return b"\x08" * count


def test_pepper_is_created_once_with_mode_0600(tmp_path: Path):
    path = tmp_path / "home" / "key-pepper"
    first = load_pepper(path, fixed)
    assert first == b"\x07" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_pepper(path, other) == first
    assert list(path.parent.iterdir()) == [path]


def test_a_second_process_takes_the_first_ones_pepper(tmp_path: Path):
    path = tmp_path / "key-pepper"

    def slow(count: int) -> bytes:
        if not path.exists():
            load_pepper(path, fixed)  # another process wins while this one draws its bytes
        return other(count)

    assert load_pepper(path, slow) == b"\x07" * 32


def test_a_pepper_of_the_wrong_size_is_refused(tmp_path: Path):
    path = tmp_path / "key-pepper"
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="5 bytes instead of 32"):
        load_pepper(path, fixed)


def test_an_unwritable_home_is_a_config_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read or created"):
        load_pepper(tmp_path / "file" / "key-pepper", fixed)
