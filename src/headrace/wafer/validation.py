"""The model of a wafer's time against every published measurement it can be held to.

Constants are fitted on the rows that say so, by least squares of relative errors; all others are
held out. A row that misses its goal is a miss, and stays in the table.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Pace, all_reduce, multicast, time_of, vectors
from headrace.wafer.machine import WSE2
from headrace.wafer.published import Measurement, of_table
from headrace.wafer.served import Served, When, assumptions, token_s
from headrace.wafer.waferllm import (
    MODELS,
    DenseModel,
    decode_layer,
    prefill_layer,
)
from headrace.wafer.work import product

_FIT_ROUNDS = 4
CONTEXT = 4_096  # tokens of tables 3 and 4
PREFILL_SIDES = {"LLaMA3-8B": 660, "LLaMA2-13B": 750}  # of table 2
DECODE_SIDES = {"LLaMA3-8B": 360, "LLaMA2-13B": 375}
GEMV_SIDE = 750  # assumed: table 6 names none; the mesh that host copies leave
GPU_W = 400.0  # of one A100: nameplate, as is the wafer's
FITTED_AT_LAUNCH = "Llama 3.1 8B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published number beside what the model says."""

    section: str
    name: str
    unit: str
    published: float
    modelled: float
    is_fitted: bool  # one of the rows the constants come from
    goal: float  # most the relative error may be
    source: str
    note: str = ""
    interval: tuple[float, float] | None = None  # instead of a point, which is then its middle
    is_too_wide: bool = False  # an interval that says nothing

    @property
    def error(self) -> float:
        """Relative, of the modelled number."""
        return self.modelled / self.published - 1

    @property
    def is_hit(self) -> bool:
        """Whether the error is within the goal, or the published number within the interval."""
        if self.interval is not None:
            low, high = self.interval
            return low <= self.published <= high and not self.is_too_wide
        return abs(self.error) <= self.goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The constants, and what they were fitted on."""

    decode: Pace  # on the three LLaMA3-8B rows of table 4
    prefill_element: float  # cycles for four elements; on LLaMA3-8B and QWen2-72B of table 3
    prefill_outer: float  # cycles for each outer iteration
    launch: float  # speed of the 8B served at launch over the modelled one


def fit() -> Fit:
    """All constants, from the published rows."""
    decode = _fit_decode(of_table(4, "WaferLLM", "LLaMA3-8B"))
    fitted = of_table(3, "WaferLLM", "LLaMA3-8B") + of_table(3, "WaferLLM", "QWen2-72B")
    element, outer = _fit_prefill(fitted)
    first = next(served for served in _served("launch") if served.model == FITTED_AT_LAUNCH)
    return Fit(
        decode=decode,
        prefill_element=element,
        prefill_outer=outer,
        launch=first.tok_s * token_s(first, decode, assumptions()),
    )


def validate(found: Fit | None = None) -> list[Row]:
    """Every row, in the order of the tables."""
    found = found or fit()
    sections: tuple[Callable[[Fit], Iterator[Row]], ...] = (
        _decode,
        _prefill,
        _end_to_end,
        _capacity,
        _gemv,
        _energy,
        _launch,
        _since,
        _with_drafts,
    )
    return [row for section in sections for row in section(found)]


def _fit_decode(rows: list[Measurement]) -> Pace:
    """Relay and issue cycles: the only two causes with a constant that is not known.

    Where two ways to the root are nearly as long, the constants decide which is the longer, so the
    counts are taken again with those found, until they stay.
    """
    found = Pace.of(WSE2)
    for _ in range(_FIT_ROUNDS):
        shares: list[tuple[float, float]] = []
        rest: list[float] = []
        for row in rows:
            model = MODELS[row.model]
            counted = decode_layer(model, _side(row), CONTEXT, found)
            measured = WSE2.clock_hz.value / row.value / model.layers
            relays, issues = counted.relays / found.relay_cycles, counted.issue / found.issue_cycles
            shares.append((relays / measured, issues / measured))
            rest.append(1 - (counted.hops + counted.arithmetic + counted.words) / measured)
        relay, issue = _least_squares(shares, rest)
        found = Pace(relay_cycles=relay, issue_cycles=issue, lanes=found.lanes)
    return found


def _fit_prefill(rows: list[Measurement]) -> tuple[float, float]:
    shares: list[tuple[float, float]] = []
    for row in rows:
        model = MODELS[row.model]
        work = prefill_layer(model, _side(row), CONTEXT)
        measured = WSE2.clock_hz.value * CONTEXT / row.value / model.layers
        shares.append((work.elements / measured, work.outer / measured))
    return _least_squares(shares, [1.0] * len(shares))


def _least_squares(shares: list[tuple[float, float]], wanted: list[float]) -> tuple[float, float]:
    solution = np.linalg.lstsq(np.array(shares), np.array(wanted), rcond=None)[0]
    return float(solution[0]), float(solution[1])


def _side(row: Measurement) -> int:
    return int(row.config.partition("x")[0])


def _decode_s(model: DenseModel, side: int, context: int, pace: Pace) -> float:
    cycles = decode_layer(model, side, context, pace).total
    return cycles * model.layers / WSE2.clock_hz.value


def _prefill_s(model: DenseModel, side: int, tokens: int, found: Fit) -> float:
    work = prefill_layer(model, side, tokens)
    cycles = found.prefill_element * work.elements + found.prefill_outer * work.outer
    return cycles * model.layers / WSE2.clock_hz.value


def _row(
    section: str, row: Measurement, modelled: float, *, goal: float, is_fitted: bool, note: str = ""
) -> Row:
    return Row(
        section=section,
        name=" ".join(part for part in (row.model, row.config) if part),
        unit=row.unit,
        published=row.value,
        modelled=modelled,
        is_fitted=is_fitted,
        goal=goal,
        source=f"WaferLLM, OSDI 2025, {row.table.lower()}",
        note=note,
    )


def _decode(found: Fit) -> Iterator[Row]:
    for row in of_table(4, "WaferLLM"):
        speed = 1 / _decode_s(MODELS[row.model], _side(row), CONTEXT, found.decode)
        is_fitted = row.model == "LLaMA3-8B"
        yield _row("decode", row, speed, goal=0.03, is_fitted=is_fitted)


def _prefill(found: Fit) -> Iterator[Row]:
    for row in of_table(3, "WaferLLM"):
        speed = CONTEXT / _prefill_s(MODELS[row.model], _side(row), CONTEXT, found)
        is_fitted = row.model in ("LLaMA3-8B", "QWen2-72B")
        yield _row("prefill", row, speed, goal=0.03 if is_fitted else 0.05, is_fitted=is_fitted)


def _end_to_end(found: Fit) -> Iterator[Row]:
    for row in of_table(2, "WaferLLM"):
        model = MODELS[row.model]
        read, written = map(int, row.config.removeprefix("input/output ").split("/"))
        side = DECODE_SIDES[model.name]
        # Contexts that fill the same rows of cores take the same time: one of each will do.
        padded = Counter(-(-context // side) * side for context in range(read, read + written))
        decode_s = sum(
            tokens * _decode_s(model, side, context, found.decode)
            for context, tokens in padded.items()
        )
        prefill_s = _prefill_s(model, PREFILL_SIDES[model.name], read, found)
        note = (
            "padded sizes of 13B are not published, and nothing here moves the cache between meshes"
            if model.name == "LLaMA2-13B"
            else ""
        )
        speed = written / (prefill_s + decode_s)
        yield _row("end to end", row, speed, goal=0.10, is_fitted=False, note=note)


def _capacity(_: Fit) -> Iterator[Row]:
    """Tokens dealt over all rows of cores, over tokens of one row: the rows."""
    for name, side in DECODE_SIDES.items():
        shifted = of_table(5, "shifting", name)[0]
        appended = of_table(5, "concatenating", name)[0]
        yield Row(
            section="KV capacity",
            name=f"{name} on {side} rows, over appending",
            unit="x",
            published=shifted.value / appended.value,
            modelled=float(side),
            is_fitted=False,
            goal=0.03,
            source="WaferLLM, OSDI 2025, table 5",
        )


def _gemv(found: Fit) -> Iterator[Row]:
    for row in of_table(6, "MeshGEMV"):
        size = 1024 * int(row.model.partition(",")[2].partition("K")[0])
        works = product("GEMV", size, size, reduce="y", columns=GEMV_SIDE, rows=GEMV_SIDE)
        whole = time_of(works, columns=GEMV_SIDE, rows=GEMV_SIDE, pace=found.decode)
        yield _row(
            "MeshGEMV",
            row,
            whole.total / WSE2.clock_hz.value * 1e3,
            goal=0.15,
            is_fitted=False,
            note=_gemv_note(size, row.value, found.decode),
        )


def _gemv_note(size: int, published_ms: float, pace: Pace) -> str:
    """What the row would ask for: no multicast behind the sum, and relays of less software."""
    local = -(-size // GEMV_SIDE)
    summed = all_reduce(GEMV_SIDE, default_groups(GEMV_SIDE), local, pace)
    spread = multicast(GEMV_SIDE // 2 + 1, local, pace)
    besides = vectors(local, local, pace).total + summed.total - spread.total
    asked = published_ms * 1e-3 * WSE2.clock_hz.value
    relays = (summed.relays - spread.relays) / pace.relay_cycles
    relay = pace.relay_cycles - (besides - asked) / relays
    return (
        f"mesh of {GEMV_SIDE} assumed, none is published; without the multicast "
        f"{besides / asked - 1:+.0%}, and exact with relays of {relay:.0f} cycles"
    )


def _energy(_: Fit) -> Iterator[Row]:
    """Power times time, both nameplate: the printed ratios are computed, not metered."""
    for row in (r for table in (6, 7, 8) for r in of_table(table, "over WSE-2")):
        gpus = row.system.removesuffix(" A100 over WSE-2")
        wafer_s, gpu_s = _energy_times(row, gpus)
        count = {"1": 1, "8": 8, "2x8": 16}[gpus]
        ratio = count * GPU_W * gpu_s / (WSE2.power_w.value * wafer_s)
        yield Row(
            section="energy",
            name=f"{row.model}, {gpus} A100, {row.config or 'GEMV'}",
            unit="x",
            published=row.value,
            modelled=ratio,
            is_fitted=False,
            goal=10**-row.digits / row.value,  # some are cut after the last digit, not rounded
            source=f"WaferLLM, OSDI 2025, {row.table.lower()}",
            note=(
                "all of a model follow from one speed a little above table 4's: 2,707 tok/s for "
                "8B, 2,055 for 13B"
                if row.table == "Table 8"
                else ""
            ),
        )


def _energy_times(row: Measurement, gpus: str) -> tuple[float, float]:
    """Time on the wafer and on the GPUs, in a unit of their own."""
    if row.table == "Table 6":
        wafer = of_table(6, "MeshGEMV", row.model)[0]
        gpu = of_table(6, f"tensor parallel on {gpus} A100", row.model)[0]
        return wafer.value, gpu.value
    table = 3 if row.table == "Table 7" else 4
    wafers = of_table(table, "WaferLLM", row.model)
    gpu = of_table(table, f"SGLang on {gpus} A100", row.model)[0]
    return 1 / max(wafer.value for wafer in wafers), 1 / gpu.value


def _launch(found: Fit) -> Iterator[Row]:
    for served in _served("launch"):
        is_fitted = served.model == FITTED_AT_LAUNCH
        yield _served_row(
            "Cerebras at launch",
            served,
            found.launch / token_s(served, found.decode, assumptions()),
            is_fitted=is_fitted,
            goal=1e-9 if is_fitted else 0.15,
            note=f"one efficiency, {found.launch:.2f}, fitted on 8B",
        )


def _since(found: Fit) -> Iterator[Row]:
    """Nothing is fitted on any of these; drafts are not stated, and not ruled out."""
    for served in _served("since"):
        speed = 1 / token_s(served, found.decode, assumptions())
        row = _served_row("Cerebras since", served, speed, is_fitted=False, goal=served.goal)
        if row.is_hit:
            note = ""
        elif row.error < 0:
            note = f"{served.model}: drafts, or a relay of less software, would explain it"
        else:
            note = f"{served.model}: not explained"
        yield replace(row, note=note)


def _with_drafts(found: Fit) -> Iterator[Row]:
    """Intervals, from one acceptance assumed low to one assumed high."""
    speculation = assumptions().speculation
    for served in _served("with drafts"):
        alone = token_s(served, found.decode, assumptions())
        low, high = (
            speculation.gain(acceptance, served.shape.layers, alone) / alone
            for acceptance in (speculation.acceptance_low, speculation.acceptance_high)
        )
        row = _served_row(
            "Cerebras, perhaps with drafts",
            served,
            math.sqrt(low * high),
            is_fitted=False,
            goal=math.sqrt(high / low) - 1,
            note=f"{served.model} without drafts {1 / alone:,.0f} tok/s",
        )
        yield replace(row, interval=(low, high), is_too_wide=high / low > speculation.widest)


def _served(when: When) -> Iterator[Served]:
    return (served for served in assumptions().served if served.when == when)


def _served_row(
    section: str, served: Served, modelled: float, *, is_fitted: bool, goal: float, note: str = ""
) -> Row:
    wafers = "1 wafer" if served.wafers == 1 else f"{served.wafers} wafers"
    return Row(
        section=section,
        name=f"{served.model}, {served.bits:g} bits on {wafers} assumed",
        unit="tok/s",
        published=served.tok_s,
        modelled=modelled,
        is_fitted=is_fitted,
        goal=goal,
        source=f"{served.source}, {served.date}",
        note=note,
    )
