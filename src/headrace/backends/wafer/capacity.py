"""What of a program fits a machine: its placement, and how much cache there is room for."""

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.wafer.stages import stages_of
from headrace.errors import OutOfSram
from headrace.model.program import Program
from headrace.wafer.machine import Machine
from headrace.wafer.placement import Placement, matrix_tile_bytes, place


def placed(program: Program, machine: Machine, num_blocks: int) -> Placement:
    """`program` on `machine` with a cache of so many blocks. Raises PlacementError."""
    return place(
        [stage.shape for stage in stages_of(program) if stage.matrices],
        machine,
        cache_tokens=num_blocks * BLOCK_TOKENS,
        piece_tokens=BLOCK_TOKENS,
    )


def most_blocks(program: Program, machine: Machine, wanted: int) -> int:
    """The most blocks of cache, `wanted` at most, with which `program` fits.

    Raises PlacementError when it does not fit with one.
    """
    shapes = [stage.shape for stage in stages_of(program) if stage.matrices]

    def fits(blocks: int) -> bool:
        tokens = blocks * BLOCK_TOKENS
        try:
            place(shapes, machine, cache_tokens=tokens, piece_tokens=BLOCK_TOKENS)
        except OutOfSram:
            return False
        return True

    placed(program, machine, 1)
    least, beyond = 1, wanted + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if fits(middle) else (least, middle)
    return least


def tile_bytes(program: Program, machine: Machine, num_blocks: int) -> int:
    """Bytes of all matrices as tiles of equal size, padding included. Raises PlacementError."""
    return sum(
        matrix_tile_bytes(matrix, region.rectangle) * region.rectangle.cores
        for region in placed(program, machine, num_blocks).regions
        for stage in region.stages
        for matrix in stage.matrices
    )
