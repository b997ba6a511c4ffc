"""A matrix on a region's cores, and its product with vectors that lie along one axis."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headrace.backends.wafer.deal import Deal, Indices, gather, scatter
from headrace.model.mxfp4 import BIAS, NAN_SCALE, VALUES
from headrace.model.precision import Stored, widen
from headrace.model.program import MXFP4_BLOCK
from headrace.wafer.collectives import all_reduce, multicast
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.ring import shifted_product

F32 = NDArray[np.float32]

ROWS_AT_ONCE = 8  # chosen: bounds the partial sums of a long prompt's rows
_POWERS = np.append(np.ldexp(np.float32(1), np.arange(NAN_SCALE) - BIAS), np.float32(np.nan))


class Tiles(ABC):
    """[outputs, inputs], inputs dealt along one axis and outputs along the other."""

    def __init__(self, inputs: Deal, outputs: Deal, rectangle: Rectangle) -> None:
        self._inputs = inputs.over(rectangle)
        self._outputs = outputs.over(rectangle)
        self._widths = len(outputs.order), len(inputs.order)
        self._rectangle = rectangle
        self._columns = self._inputs.T[:, :, None, None]
        self._rows = self._outputs[None, None]

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes here, padding included."""

    @abstractmethod
    def _weights(self) -> Iterator[F32]:
        """Input after input of every core: [cores that add up, cores beside, outputs of a core]."""

    @property
    def lines(self) -> int:
        """Cores that add up for an output."""
        return len(self._inputs)

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
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            product[first : first + len(some)] = self.total(self.add(some, self.nothing(len(some))))
        return product

    def nothing(self, rows: int, bias: F32 | None = None, line: int = 0) -> F32:
        """What the cores begin a sum with: [rows, cores that add up, cores beside, outputs].

        Zero; or on one of the cores that add up, at `line`, which alone holds it, `bias` [outputs].
        """
        sums = np.zeros((rows, len(self._inputs), *self._outputs.shape), np.float32)
        if bias is not None:
            sums[:, line] = gather(bias, self._outputs)
        return sums

    def add(self, rows: F32, sums: F32) -> F32:
        """`sums` with what each core makes of `rows` [T, inputs] added; in place."""
        held = multicast(gather(rows, self._inputs), sums.shape[2])  # [T, P, beside, inputs]
        for i, weights in enumerate(self._weights()):
            sums += held[..., i, None] * weights
        return sums

    def total(self, sums: F32) -> F32:
        """The cores' sums met in the tree: [T, outputs]."""
        return scatter(all_reduce(np.moveaxis(sums, 1, 2)), self._outputs, self._widths[0])


class NumberTiles(Tiles):
    """In 16 bits a number, as stored."""

    def __init__(self, matrix: Stored, inputs: Deal, outputs: Deal, rectangle: Rectangle) -> None:
        super().__init__(inputs, outputs, rectangle)
        rows, columns = self._rows, self._columns
        # [inputs of a core, cores that add up, cores beside, outputs of a core]
        self._stored: Stored = np.where((rows >= 0) & (columns >= 0), matrix[rows, columns], 0)
        self._stored = self._stored.astype(matrix.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes here, padding included."""
        return self._stored.nbytes

    def _weights(self) -> Iterator[F32]:
        return map(widen, self._stored)

    def shifted(self, rows: F32) -> F32:
        """`times` by cyclic shifts, where the weights travel; T of at least a few."""
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


class CodeTiles(Tiles):
    """MXFP4 (`model.mxfp4`): two codes a byte, and the scales of the blocks a core has part of.

    Every number is made on its core when its turn comes, exactly, so sums are those of the same
    numbers in 16 bits.
    """

    def __init__(
        self,
        codes: NDArray[np.uint8],
        scales: NDArray[np.uint8],
        inputs: Deal,
        outputs: Deal,
        rectangle: Rectangle,
    ) -> None:
        """`codes` [outputs, inputs / 32, 16], `scales` [outputs, inputs / 32]; inputs in order."""
        super().__init__(inputs, outputs, rectangle)
        rows, columns = self._rows, self._columns
        byte = codes.reshape(len(codes), -1)[rows, columns // 2]
        code = np.where(columns % 2, byte >> np.uint8(4), byte & np.uint8(15))
        code = np.where((rows >= 0) & (columns >= 0), code, np.uint8(0))
        if len(code) % 2:
            code = np.concatenate([code, np.zeros_like(code[:1])])
        self._codes = code[0::2] | code[1::2] << np.uint8(4)
        # Blocks by core, from the first that it has a part of.
        block = np.where(self._inputs >= 0, self._inputs // MXFP4_BLOCK, -1)
        first = block.min(axis=1, initial=scales.shape[1] - 1, where=block >= 0)
        self._places = np.maximum(block - first[:, None], 0).T  # [inputs of a core, P]
        held = first + np.arange(int(self._places.max(initial=0)) + 1)[:, None]
        held = np.clip(held, 0, scales.shape[1] - 1)[:, :, None, None]
        self._scales = np.where(rows >= 0, scales[rows, held], np.uint8(0))

    @property
    def nbytes(self) -> int:
        """Bytes here, padding included."""
        return self._codes.nbytes + self._scales.nbytes

    def _weights(self) -> Iterator[F32]:
        cores = np.arange(len(self._inputs))
        for i, place in enumerate(self._places):
            code = self._codes[i // 2] >> np.uint8(4 * (i % 2)) & np.uint8(15)
            with np.errstate(over="ignore"):  # infinite, as the dequantised number is
                numbers = VALUES[code] * _POWERS[self._scales[place, cores]]
            yield numbers
