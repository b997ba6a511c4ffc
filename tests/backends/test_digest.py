"""The checksum of packed weights, held to its definition and to what it is for."""

import sys

import numpy as np
import pytest

from headrace.backends.cpu.library import require_native

LANES, ODD, MASK = 8, 0x9E3779B97F4A7C15, (1 << 64) - 1


def digest(data: bytes) -> int:
    require_native()
    from headrace.backends.cpu import _native

    return _native.digest(memoryview(data))


def step(state: int, word: int) -> int:
    mixed = state ^ word
    return (mixed ^ mixed >> 32) * ODD & MASK


def expected(data: bytes) -> int:
    """Words go to eight lanes in turn; what is left is padded with zeros to one word for each."""
    stride = 8 * LANES
    rest = data[len(data) // stride * stride :].ljust(stride, b"\0")
    padded = data[: len(data) // stride * stride] + rest
    lanes = list(range(LANES))
    for start in range(0, len(padded), 8):
        lane = start // 8 % LANES
        word = int.from_bytes(padded[start : start + 8], sys.byteorder)
        lanes[lane] = step(lanes[lane], word)
    state = len(data)
    for lane in lanes:
        state = step(state, lane)
    return state


@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 65, 127, 128, 1000, 4096])
def test_it_is_what_its_definition_says(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert digest(data) == expected(data)


def test_it_changes_with_every_bit_and_with_the_length() -> None:
    data = bytearray(np.random.default_rng(0).bytes(200))
    seen = {digest(bytes(data)), digest(bytes(data) + b"\0"), digest(bytes(data[:-1]))}
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        seen.add(digest(bytes(data)))
        data[bit // 8] ^= 1 << bit % 8
    assert len(seen) == 3 + 8 * len(data)


def test_it_finds_words_that_changed_places_and_equal_bits_that_flipped() -> None:
    data = np.random.default_rng(1).integers(0, 1 << 63, 64, np.uint64)
    sound = digest(data.tobytes())
    swapped = data.copy()
    swapped[[3, 3 + LANES]] = swapped[[3 + LANES, 3]]
    assert digest(swapped.tobytes()) != sound
    for bit in range(64):
        flipped = data.copy()
        flipped[[5, 5 + LANES]] ^= np.uint64(1 << bit)
        assert digest(flipped.tobytes()) != sound
