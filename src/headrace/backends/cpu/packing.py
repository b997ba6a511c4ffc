"""Copies a checkpoint's matrices into their packed places, one tensor in memory at a time."""

import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headrace.backends.base import MappedWeights, Weights
from headrace.backends.cpu.layout import PackedMatrix
from headrace.backends.cpu.packed_cache import PackedKey
from headrace.model.program import Weight

if TYPE_CHECKING:
    from headrace.backends.cpu import _native

# A tensor, its matrix, its place among the matrix's sources, and whether that is transposed.
Place = tuple[Weight, int, int, bool]


def pack_all(
    machine: "_native.Machine",
    places: Sequence[Place],
    weights: Weights,
    progress: Callable[[int, int], None],
) -> None:
    """Pack every tensor of `places`; `progress` hears of (bytes packed, bytes in all).

    The pages of a mapped tensor are asked for while the one before it is packed, and let go after
    its last use, so that the checkpoint never lies in memory beside its packed form.
    """
    mapped = weights if isinstance(weights, MappedWeights) else None
    if mapped is not None:
        for name in weights:  # the vectors were read, and brought their neighbours along
            mapped.was_read(name)
    last = {weight.name: i for i, (weight, *_) in enumerate(places)}
    total = 2 * sum(math.prod(weight.shape) for weight, *_ in places)
    done = 0
    for i, (weight, matrix, source, transposed) in enumerate(places):
        if mapped is not None and i + 1 < len(places):
            mapped.will_read(places[i + 1][0].name)
        rows = weights[weight.name][weight.rows]
        rows = np.ascontiguousarray(rows.T if transposed else rows)
        machine.pack(matrix, source, rows.view(np.uint16))
        if mapped is not None and last[weight.name] == i:
            mapped.was_read(weight.name)
        done += 2 * math.prod(weight.shape)
        progress(done, total)


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
