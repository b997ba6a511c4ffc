"""Parts of tensors, and MXFP4, against the format's own words."""

import numpy as np
import pytest

from headrace.model.mxfp4 import dequantise
from headrace.model.precision import Rounded, round_to_bf16
from headrace.model.program import Weight
from headrace.model.weight_part import cut, numbers

# OCP Microscaling Formats 1.0, table 5.3: e2m1 by code.
MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def worth(code: int, scale: int) -> float:
    """By the definition: sign, two bits of exponent, one of mantissa."""
    exponent, mantissa = code >> 1 & 3, code & 1
    magnitude = mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1)
    return (-1) ** (code >> 3) * magnitude * 2.0 ** (scale - 127)


def test_every_code_with_scales_from_end_to_end() -> None:
    assert [worth(code, 127) for code in range(8)] == MAGNITUDES
    scales = np.array([0, 1, 2, 90, 127, 128, 200, 252], np.uint8)
    codes = np.array([i | 15 - i << 4 for i in range(16)], np.uint8)
    found = dequantise(np.tile(codes, (len(scales), 1)), scales)
    expected = [[worth(i, int(s)), worth(15 - i, int(s))] for s in scales for i in range(16)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32).ravel())
    assert not np.any(
        round_to_bf16(found[64:]).astype(np.uint32) << 16 != found[64:].view(np.uint32)
    )


def test_a_scale_of_255_is_no_number() -> None:
    found = dequantise(np.zeros((2, 16), np.uint8), np.array([255, 254], np.uint8))
    assert np.isnan(found[:32]).all()
    assert not found[32:].any()


@pytest.mark.parametrize("rounded", [False, True])
def test_parts_of_stacked_tensors(rounded: bool) -> None:
    tensor = np.arange(3 * 6 * 4, dtype=np.float32).reshape(3, 6, 4)
    stored = Rounded(tensor) if rounded else round_to_bf16(tensor)
    odd = Weight(name="x", shape=(3, 4), first_row=1, tensor_rows=6, row_step=2, stack=(2, 3))
    np.testing.assert_array_equal(cut(odd, stored), round_to_bf16(tensor[2, 1::2]))
    np.testing.assert_array_equal(numbers(odd, {"x": stored}), tensor[2, 1::2])
    across = Weight(name="x", shape=(4, 6), stack=(1, 3), transposed=True)
    np.testing.assert_array_equal(numbers(across, {"x": stored}), tensor[1].T)
    columns = Weight(
        name="x", shape=(2, 6), tensor_rows=4, row_step=2, stack=(0, 3), transposed=True
    )
    np.testing.assert_array_equal(numbers(columns, {"x": stored}), tensor[0].T[0::2])
    assert {t.shape for w in (odd, across, columns) for t in w.tensors} == {(3, 6, 4)}


def test_parts_in_mxfp4_are_parts_of_what_the_tensors_are_worth() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(256, size=(3, 6, 2, 16), dtype=np.uint8)
    scales = rng.integers(100, 140, size=(3, 6, 2), dtype=np.uint8)
    whole = dequantise(codes, scales)
    assert whole.shape == (3, 6, 64)
    weight = Weight(
        name="x_blocks",
        shape=(3, 64),
        tensor_rows=6,
        row_step=2,
        stack=(1, 3),
        scales="x_scales",
    )
    found = numbers(weight, {"x_blocks": codes, "x_scales": scales})
    np.testing.assert_array_equal(found, whole[1, 0::2])
    of_codes, of_scales = weight.tensors
    assert (of_codes.name, of_codes.shape, of_codes.holds) == ("x_blocks", codes.shape, "codes")
    assert (of_scales.name, of_scales.shape) == ("x_scales", scales.shape)
    assert weight.stored_bytes == 3 * 2 * 17
