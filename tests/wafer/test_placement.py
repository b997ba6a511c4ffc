"""Placement: nothing lost, nothing twice, budgets kept, refusals that say how much is missing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from headrace.errors import ConfigError, OutOfColours, OutOfSram, PlacementError
from headrace.wafer.machine import WSE2, WSE3, Fact, Machine, machine_named, mesh
from headrace.wafer.placement import place
from headrace.wafer.rectangle import dealt, most, snake
from headrace.wafer.shapes import Matrix, Stage, dense_layer

HEAD = Stage(name="head", matrices=(Matrix(name="head", inputs=256, outputs=4096, reduce="y"),))
MINI = [
    *(
        dense_layer(f"layer {i}", dim=256, q=256, kv=128, ffn=768, query_heads=8, unit=2)
        for i in range(6)
    ),
    HEAD,
]


@pytest.mark.parametrize("seed", range(40))
def test_what_is_dealt_is_dealt_once_and_evenly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, cores, unit = (int(n) for n in rng.integers(1, (300, 40, 5)))
    parts = dealt(length, cores, unit)
    assert [i for part in parts for i in part] == list(range(length))
    assert max(map(len, parts)) == most(length, cores, unit)
    assert all(part.start % unit == 0 for part in parts if part)


@pytest.mark.parametrize("seed", range(40))
def test_the_snake_covers_the_mesh_once_and_neighbours_touch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns, rows = (int(n) for n in rng.integers(4, 40, 2))
    sizes = [int(n) for n in rng.integers(1, 4, int(rng.integers(1, 9)))]
    rectangles = snake(sizes, columns, rows)
    if rectangles is None:
        return
    held = np.zeros((rows, columns), int)
    for r in rectangles:
        held[r.y : r.y + r.rows, r.x : r.x + r.columns] += 1
    assert (held == 1).all()
    for a, b in pairwise(rectangles):
        across = min(a.x + a.columns, b.x + b.columns) - max(a.x, b.x)
        down = min(a.y + a.rows, b.y + b.rows) - max(a.y, b.y)
        assert max(across, down) > 0, "they share an edge"
        assert min(across, down) == 0


@pytest.mark.parametrize("side", [32, 64])
def test_budgets_hold_where_it_fits(side: int) -> None:
    placement = place(MINI, mesh(side, side), cache_tokens=2_048)
    assert [s.name for r in placement.regions for s in r.stages] == [s.name for s in MINI]
    assert placement.fill <= 1
    assert placement.colours == 20
    for region in placement.regions:
        held = sum(m.inputs * m.outputs * 2 for s in region.stages for m in s.matrices)
        assert region.core_bytes.weights * region.rectangle.cores >= held


def test_what_does_not_fit_is_refused_with_the_missing_bytes() -> None:
    with pytest.raises(OutOfSram, match=r"16x16 is [0-9,]+ bytes of SRAM short") as refused:
        place(MINI, mesh(16, 16), cache_tokens=256)
    assert refused.value.missing_bytes > 0
    roomier = replace(
        mesh(16, 16),
        sram_bytes_per_core=Fact(
            WSE2.sram_bytes_per_core.value + -(-refused.value.missing_bytes // 256),
            "B",
            "A",
            "what was missing",
        ),
    )
    assert place(MINI, roomier, cache_tokens=256).fill == pytest.approx(1, abs=1e-3)


def test_a_colour_too_few_is_refused() -> None:
    few = replace(mesh(32, 32), colours=Fact(23, "colours", "A", "a test"))
    with pytest.raises(OutOfColours, match="20 colours"):
        place(MINI, few, cache_tokens=256)


def test_nothing_is_no_placement() -> None:
    with pytest.raises(PlacementError):
        place([], mesh(4, 4), cache_tokens=16)


@pytest.mark.parametrize("machine", [WSE2, WSE3, mesh(7, 5)])
def test_every_constant_says_where_it_comes_from(machine: Machine) -> None:
    for _, fact in machine.facts():
        assert fact.source
        assert fact.certainty in "HMLA"
        assert fact.source in str(fact)


def test_meshes_by_name() -> None:
    assert machine_named("WSE-3") is WSE3
    assert (machine_named("7x5").columns.value, machine_named("7x5").rows.value) == (7, 5)
    for wrong in ("7", "0x5", "7x5x3", "wse9", "9999x1"):
        with pytest.raises(ConfigError):
            machine_named(wrong)
