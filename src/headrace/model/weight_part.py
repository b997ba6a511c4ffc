"""A program's weight, cut out of the stored tensor it is a part of."""

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from headrace.model.mxfp4 import dequantise
from headrace.model.precision import Stored, Tensor, widen
from headrace.model.program import Weight


def cut(weight: Weight, tensor: Tensor) -> Stored:
    """The rows of `tensor` that `weight` names, as stored; no more of it is read than need be.

    Of MXFP4, `tensor` may be that of the codes or of the scales. A view where it can be one.
    """
    if weight.stack is not None:
        index = weight.stack[0]
        matrix = tensor[index : index + 1][0]
    elif weight.transposed:
        matrix = tensor[:]
    else:
        return tensor[weight.rows]
    return (matrix.T if weight.transposed else matrix)[weight.rows]


def quantised(
    weight: Weight, tensors: Mapping[str, Tensor]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The codes [rows, inputs / 32, 16] and scales [rows, inputs / 32] of an MXFP4 weight."""
    assert weight.scales is not None
    codes, scales = cut(weight, tensors[weight.name]), cut(weight, tensors[weight.scales])
    return cast("NDArray[np.uint8]", codes), cast("NDArray[np.uint8]", scales)


def numbers(weight: Weight, tensors: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """The exact float32 values of `weight`, in its shape; a view where they are stored so."""
    if weight.scales is not None:
        return dequantise(*quantised(weight, tensors))
    part = cut(weight, tensors[weight.name])
    return cast("NDArray[np.float32]", part) if part.dtype == np.float32 else widen(part)
