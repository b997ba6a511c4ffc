"""Number formats: widening is exact, rounding to bf16 is nearest, ties to even."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import precision
from headrace.model.precision import Rounded, Stored, round_to_bf16, widen

ALL_16_BITS = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


def test_widening_gives_the_value_that_the_bits_of_fp16_stand_for() -> None:
    for bits in range(0, 1 << 15, 7):  # by the definition of IEEE 754 binary16
        exponent, fraction = bits >> 10, bits & 0x3FF
        if exponent == 31:
            continue
        value = Fraction(fraction + (1024 if exponent else 0), 1024) * Fraction(2) ** (
            max(exponent, 1) - 15
        )
        for sign, raw in ((1, bits), (-1, bits | 0x8000)):
            stored = np.array([raw], np.uint16).view(np.float16)
            assert Fraction(float(widen(stored)[0])) == sign * value


@pytest.mark.parametrize("dtype", [np.uint16, np.float16])
def test_widening_loses_nothing(dtype: type[np.uint16] | type[np.float16]) -> None:
    stored = ALL_16_BITS.view(dtype)
    wide = widen(stored)
    back = round_to_bf16(wide) if dtype is np.uint16 else wide.astype(np.float16).view(np.uint16)
    numbers = ~np.isnan(wide)
    assert np.count_nonzero(~numbers) == 2 * ((1 << (7 if dtype is np.uint16 else 10)) - 1)
    np.testing.assert_array_equal(back[numbers], ALL_16_BITS[numbers])


def test_rounding_to_bf16_is_nearest_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -0.0, np.inf, 3.3895314e38], np.float32)
    # 1 + 2^-8 lies half-way between 1 and 1 + 2^-7: to even; 1 + 3 * 2^-8 likewise, upwards.
    expected = np.array([1.0, 1.0, 1.015625, -0.0, np.inf, 3.3895314e38], np.float32)
    np.testing.assert_array_equal(widen(round_to_bf16(values)), expected)
    assert np.isnan(widen(round_to_bf16(np.array([np.nan], np.float32))))[0]


@given(st.lists(st.floats(-(2.0**126), 2.0**126, width=32), min_size=1, max_size=20))
def test_no_bf16_is_nearer_than_the_rounded_one(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    bits = round_to_bf16(values)
    for number, own in zip(numbers, bits.tolist(), strict=True):
        error = abs(Fraction(number) - as_fraction(own))
        others = [near for near in (own - 1, own + 1) if near >> 15 == own >> 15]
        for other in others:
            further = abs(Fraction(number) - as_fraction(other))
            assert error < further or (error == further and own % 2 == 0)


def as_fraction(bits: int) -> Fraction:
    return Fraction(float(widen(np.array([bits & 0xFFFF], np.uint16))[0]))


@pytest.mark.parametrize("at_once", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 5), slice(3, 9)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_are_rounded_when_they_are_read(
    at_once: int, rows: slice, dtype: type[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_ROUNDED_AT_ONCE", at_once)
    values: Stored = np.random.default_rng(0).standard_normal((9, 7)).astype(dtype)
    rounded = Rounded(values)
    assert (rounded.shape, rounded.dtype) == ((9, 7), np.uint16)
    found = rounded[rows]
    np.testing.assert_array_equal(found, round_to_bf16(values.astype(np.float32))[rows])
