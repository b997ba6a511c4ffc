"""Which core holds what: stages to rectangles in snake order, tiles to cores, bytes and colours.

A pure function of shapes and machine. Numerics and time both read sizes from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import OutOfColours, OutOfSram, PlacementError
from headrace.wafer.machine import Machine
from headrace.wafer.rectangle import Rectangle, dealt, most, snake
from headrace.wafer.shapes import Axis, Matrix, Stage, Vector

WEIGHT_BYTES = (
    2  # of a matrix's number and of a cached one; of one in four bits with its scale less
)
VALUE_BYTES = 4  # of a number being computed with
SCORED_AT_ONCE = 16  # chosen: tokens of a row whose scores are held, times query heads
AXIS_COLOURS = 10  # level 1: two directions x even, odd; level 2: as many; multicast: two


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreBytes:
    """Bytes of a region's fullest core, by what they are for."""

    weights: int
    cache: int
    working: int  # vectors and scores being computed with

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.cache + self.working


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Consecutive stages on one rectangle."""

    rectangle: Rectangle
    stages: tuple[Stage, ...]
    core_bytes: CoreBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """All stages on one machine."""

    machine: Machine
    regions: tuple[Region, ...]  # in the order a token visits them; neighbours share an edge
    cache_tokens: int
    colours: int  # used per router

    def region_of(self, stage: str) -> Region:
        """The region that holds the stage of that name."""
        return next(r for r in self.regions if any(s.name == stage for s in r.stages))

    @property
    def fill(self) -> float:
        """The fullest core's share of its usable bytes."""
        return max(r.core_bytes.total for r in self.regions) / self.machine.usable_bytes


def tile_of(matrix: Matrix, rectangle: Rectangle) -> tuple[int, int]:
    """Inputs and outputs of a matrix on the core that has most of them."""
    other: Axis = "x" if matrix.reduce == "y" else "y"
    return (
        most(matrix.inputs, rectangle.side(matrix.reduce), matrix.input_unit),
        most(matrix.outputs, rectangle.side(other), matrix.output_unit),
    )


def matrix_tile_bytes(matrix: Matrix, rectangle: Rectangle) -> int:
    """Bytes of its tiles on the core that has most: 16 bits a number, or 4 and the scales.

    A core has the scale of every block of which it has a part.
    """
    inputs, outputs = tile_of(matrix, rectangle)
    if not matrix.block:
        return matrix.count * WEIGHT_BYTES * inputs * outputs
    shares = dealt(matrix.inputs, rectangle.side(matrix.reduce), matrix.input_unit)
    ends = [(share.start // matrix.block, (share.stop - 1) // matrix.block) for share in shares]
    scales = max(last - first + 1 for first, last in ends)
    return matrix.count * (-(-inputs // 2) + scales) * outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """Tokens of cache, in pieces that begin on any row of a region and go on downwards.

    One piece is one sequence: the best case. The pieces of a paged cache are its blocks, all of
    which may begin on the same row.
    """

    tokens: int
    piece_tokens: int

    def tokens_per_row(self, rows: int) -> int:
        """The most tokens that one row of cores may have to hold."""
        return -(-self.tokens // max(1, self.piece_tokens)) * -(-self.piece_tokens // rows)


def core_bytes(stages: Sequence[Stage], rectangle: Rectangle, size: CacheSize) -> CoreBytes:
    """Bytes the fullest core needs for `stages` that share `rectangle`."""
    weights = cache = working = 0
    for stage in stages:
        for matrix in stage.matrices:
            inputs, outputs = tile_of(matrix, rectangle)
            weights += matrix_tile_bytes(matrix, rectangle)
            # the input, the sum, and what arrives to be added
            working = max(working, VALUE_BYTES * matrix.used * (inputs + 2 * outputs))
        weights += sum(_vector_bytes(vector, rectangle) for vector in stage.vectors)
        working = max(working, VALUE_BYTES * 2 * stage.experts)  # scores, and who is chosen
        if stage.cache is not None:
            tokens = size.tokens_per_row(rectangle.rows)
            kept = most(stage.cache.width, rectangle.columns, stage.cache.unit)
            cache += WEIGHT_BYTES * stage.cache.stored * kept * tokens
            working = max(working, VALUE_BYTES * stage.query_heads * 3 * SCORED_AT_ONCE)
    return CoreBytes(weights=weights, cache=cache, working=working)


def place(
    stages: Sequence[Stage],
    machine: Machine,
    *,
    cache_tokens: int,
    piece_tokens: int | None = None,
) -> Placement:
    """Give each stage a region, or let as few as must be share one, whatever fits first.

    Short lines of cores reduce sooner, so many small regions come before few large ones. Raises
    OutOfSram with the missing bytes, OutOfColours, PlacementError where there is nothing to place.
    The cache is one sequence's unless it comes in smaller pieces, see `CacheSize`.
    """
    size = CacheSize(tokens=cache_tokens, piece_tokens=piece_tokens or cache_tokens)
    if not stages:
        raise PlacementError("nothing to place: no stages")
    colours = 2 * AXIS_COLOURS
    if colours > machine.usable_colours:
        raise OutOfColours(
            f"{machine.name}: reducing along two axes takes {colours} colours a router; "
            f"{machine.usable_colours} of {machine.colours.value} are free"
        )
    nearest: tuple[int, Region] | None = None
    for count in range(min(len(stages), machine.cores), 0, -1):
        regions = _regions(_grouped(stages, count), machine, size)
        if regions is None:
            continue
        missing = sum(
            max(0, r.core_bytes.total - machine.usable_bytes) * r.rectangle.cores for r in regions
        )
        if missing == 0:
            return Placement(
                machine=machine, regions=regions, cache_tokens=cache_tokens, colours=colours
            )
        if nearest is None or missing < nearest[0]:
            nearest = missing, max(regions, key=lambda region: region.core_bytes.total)
    assert nearest is not None, "one region is always possible"
    raise _out_of_sram(machine, nearest[1], nearest[0], cache_tokens)


def _out_of_sram(machine: Machine, fullest: Region, missing: int, cache_tokens: int) -> OutOfSram:
    parts = fullest.core_bytes
    return OutOfSram(
        f"{machine.name} is {missing:,} bytes of SRAM short: '{fullest.stages[0].name}' to "
        f"'{fullest.stages[-1].name}' on {fullest.rectangle.columns}x{fullest.rectangle.rows} "
        f"cores take {parts.total:,} bytes a core ({parts.weights:,} weights, {parts.cache:,} "
        f"cache of {cache_tokens:,} tokens, {parts.working:,} working) of {machine.usable_bytes:,}",
        missing,
    )


def _vector_bytes(vector: Vector, rectangle: Rectangle) -> int:
    across = rectangle.rows if vector.axis == "x" else rectangle.columns
    lines = -(-vector.count // across) if vector.count else 1
    share = most(vector.length, rectangle.side(vector.axis), vector.unit)
    return vector.value_bytes * share * lines


def stage_bytes(stage: Stage, cache_tokens: int) -> int:
    """Bytes of a stage's matrices and cache, whatever their place: what regions are sized by."""
    cached = stage.cache.width * stage.cache.stored * cache_tokens if stage.cache else 0
    return WEIGHT_BYTES * cached + sum(_matrix_bytes(matrix) for matrix in stage.matrices)


def _matrix_bytes(matrix: Matrix) -> int:
    numbers = matrix.count * matrix.inputs * matrix.outputs
    if not matrix.block:
        return WEIGHT_BYTES * numbers
    return numbers // 2 + numbers // matrix.block


def _grouped(stages: Sequence[Stage], count: int) -> list[tuple[Stage, ...]]:
    """Consecutive stages in `count` groups of nearly as many."""
    return [tuple(stages[i] for i in part) for part in dealt(len(stages), count)]


def _regions(
    groups: Sequence[Sequence[Stage]], machine: Machine, size: CacheSize
) -> tuple[Region, ...] | None:
    sizes = [max(1, sum(stage_bytes(s, size.tokens) for s in group)) for group in groups]
    rectangles = snake(sizes, machine.columns.value, machine.rows.value)
    if rectangles is None:
        return None
    return tuple(
        Region(
            rectangle=rectangle,
            stages=tuple(group),
            core_bytes=core_bytes(group, rectangle, size),
        )
        for group, rectangle in zip(groups, rectangles, strict=True)
    )
