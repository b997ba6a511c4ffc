"""A matrix on a region's cores, and its product with vectors that lie along one axis."""

import numpy as np
from numpy.typing import NDArray

from headrace.backends.wafer.deal import Deal, Indices, gather, scatter
from headrace.model.precision import Stored, widen
from headrace.wafer.collectives import all_reduce, multicast
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.ring import shifted_product

F32 = NDArray[np.float32]

_ROWS_AT_ONCE = 8  # chosen: bounds the partial sums of a long prompt's rows


class Tiles:
    """[outputs, inputs], inputs dealt along one axis and outputs along the other."""

    def __init__(self, matrix: Stored, inputs: Deal, outputs: Deal, rectangle: Rectangle) -> None:
        self._inputs = inputs.over(rectangle)
        self._outputs = outputs.over(rectangle)
        self._widths = len(outputs.order), len(inputs.order)
        self._rectangle = rectangle
        self._columns = columns = self._inputs.T[:, :, None, None]
        self._rows = rows = self._outputs[None, None]
        # [inputs of a core, cores that add up, cores beside, outputs of a core]: as stored, 16 bits
        self._stored: Stored = np.where((rows >= 0) & (columns >= 0), matrix[rows, columns], 0)
        self._stored = self._stored.astype(matrix.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes here, padding included."""
        return self._stored.nbytes

    @property
    def output_indices(self) -> Indices:
        """[P, n]: which outputs lie on which core."""
        return self._outputs

    def times(self, rows: F32) -> F32:
        """[T, inputs] -> [T, outputs]; a row's sums see no other row.

        Each core adds its inputs one after the other, by vector multiply-adds over its outputs;
        the partial sums meet in the tree.
        """
        product = np.empty((len(rows), self._widths[0]), np.float32)
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = gather(rows[first : first + _ROWS_AT_ONCE], self._inputs)  # [t, P, inputs]
            held = multicast(some, self._stored.shape[2])  # [t, P, beside, inputs]
            partial = np.zeros((len(some), *self._stored.shape[1:]), np.float32)
            for i, weights in enumerate(self._stored):
                partial += held[..., i, None] * widen(weights)
            lines = np.moveaxis(partial, 1, 2)  # [t, beside, P, outputs]
            total = scatter(all_reduce(lines), self._outputs, self._widths[0])
            product[first : first + len(some)] = total
        return product

    def shifted(self, rows: F32) -> F32:
        """The same by cyclic shifts, where the weights travel; T of at least a few."""
        places = np.stack(np.broadcast_arrays(self._columns, self._rows))
        held = (places >= 0).all(axis=0)
        matrix = np.empty(self._widths[::-1], np.float32)
        matrix[places[0][held], places[1][held]] = widen(self._stored[held])
        rectangle = self._rectangle
        return shifted_product(rows, matrix, columns=rectangle.columns, rows=rectangle.rows)

    def column(self, output: int) -> F32:
        """The weights of one output, [inputs]: what an embedding multicasts."""
        core, place = np.argwhere(self._outputs == output)[0]
        parts = widen(self._stored[:, :, core, place]).T
        return scatter(parts, self._inputs, self._widths[1])
