"""Copies a checkpoint's matrices into their packed places, one tensor in memory at a time."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import MappedWeights, Weights
from headrace.backends.cpu.layout import PackedMatrix
from headrace.backends.cpu.packed_cache import PackedKey
from headrace.errors import BackendError
from headrace.model.mxfp4 import NAN_SCALE
from headrace.model.program import MXFP4_BLOCK, Weight
from headrace.model.weight_part import cut, quantised

if TYPE_CHECKING:
    from headrace.backends.cpu import _native

# A tensor, its matrix, its place among the matrix's sources, and whether that is transposed.
Place = tuple[Weight, int, int, bool]

# Scales with which every MXFP4 value is a normal bf16 number.
_LEAST_SCALE, _LARGEST_SCALE = 2, 252


def pack_all(
    machine: "_native.Machine",
    places: Sequence[Place],
    weights: Weights,
    progress: Callable[[int, int], None],
) -> None:
    """Pack every tensor of `places`; `progress` hears of (bytes packed, bytes in all).

    The pages of a mapped tensor are asked for while the one before it is packed, and let go after
    its last use, so that the checkpoint never lies in memory beside its packed form. Raises
    BackendError where MXFP4 leaves the range of bf16.
    """
    mapped = weights if isinstance(weights, MappedWeights) else None
    if mapped is not None:
        for name in weights:  # the vectors were read, and brought their neighbours along
            mapped.was_read(name)
    last = {name: i for i, (weight, *_) in enumerate(places) for name in _names(weight)}
    total = sum(weight.stored_bytes for weight, *_ in places)
    done = 0
    for i, (weight, matrix, source, transposed) in enumerate(places):
        if mapped is not None and i + 1 < len(places):
            for name in set(_names(places[i + 1][0])) - set(_names(weight)):
                mapped.will_read(name)
        if weight.scales is None:
            rows = cut(weight, weights[weight.name])
            rows = np.ascontiguousarray(rows.T if transposed else rows)
            machine.pack(matrix, source, rows.view(np.uint16))
        else:
            machine.pack_mxfp4(matrix, source, *_checked(weight, weights))
        for name in _names(weight):
            if mapped is not None and last[name] == i:
                mapped.was_read(name)
        done += weight.stored_bytes
        progress(done, total)


def quantised_zeros(weight: Weight) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Room for the codes [rows, inputs / 2] and scales [rows, inputs / 32] of an MXFP4 weight."""
    rows, inputs = weight.shape
    shapes = (rows, inputs // 2), (rows, inputs // MXFP4_BLOCK)
    return np.zeros(shapes[0], np.uint8), np.zeros(shapes[1], np.uint8)


def _names(weight: Weight) -> tuple[str, ...]:
    """The tensors it is read from."""
    return (weight.name,) if weight.scales is None else (weight.name, weight.scales)


def _checked(weight: Weight, weights: Weights) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Codes and scales of `weight` as the machine wants them."""
    codes, scales = quantised(weight, weights)
    outside = (scales < _LEAST_SCALE) | (scales > _LARGEST_SCALE)
    if outside.any():  # where all is zero any scale will do
        counts = ((codes & np.uint8(0x77)) != 0).any(axis=-1) | (scales == NAN_SCALE)
        if (outside & counts).any():
            raise BackendError(
                f"tensor '{weight.scales}' has scales beyond {_LEAST_SCALE}..{_LARGEST_SCALE}, "
                "with which MXFP4 numbers are not normal bf16 ones"
            )
    flat = np.ascontiguousarray(codes).reshape(len(codes), -1)
    return flat, np.ascontiguousarray(scales)


def packed_key(
    machine: "_native.Machine", matrices: Sequence[PackedMatrix], weights: Weights
) -> PackedKey | None:
    """What the packed `matrices` will be made of; None for weights that lie in no files.

    The order of the words follows from the native library, the instruction set, the number of
    workers, and each matrix with the formats of its tensors.
    """
    from headrace.backends.cpu import _native as native

    if not isinstance(weights, MappedWeights):
        return None
    library = sha256(Path(native.__file__).read_bytes()).hexdigest()
    formats = [[weights[w.name].dtype.str for w in matrix.sources] for matrix in matrices]
    layout = repr((library, machine.isa, machine.workers, tuple(matrices), formats))
    return PackedKey(checkpoint=weights.identity(), folder=weights.folder, layout=layout)
