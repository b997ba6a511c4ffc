"""The machine: a mesh of cores with memory of their own, as values of one class.

Every constant is a `Fact`: where it comes from and how sure it is travel with it, so that whatever
is computed from it can say so. Certainty: H vendor or peer-reviewed text, or arithmetic on such;
M a good secondary source; L one informal source or an estimate; A our assumption.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Generic, Literal, TypeVar

from headrace.errors import ConfigError

Number = TypeVar("Number", int, float)
Certainty = Literal["H", "M", "L", "A"]

LARGEST_SIDE = 4_096  # cores; chosen: more than any wafer has, few enough to count bytes for


@dataclass(frozen=True, slots=True)
class Fact(Generic[Number]):
    """A number with its unit, how sure it is, and who says so."""

    value: Number
    unit: str
    certainty: Certainty
    source: str

    def __str__(self) -> str:
        return f"{self.value:,} {self.unit} ({self.certainty}: {self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One wafer, or a mesh for tests: all its cores are alike."""

    name: str
    columns: Fact[int]  # along x
    rows: Fact[int]  # along y
    sram_bytes_per_core: Fact[int]
    reserved_bytes: Fact[int]  # of these, for code, stack and descriptors
    colours: Fact[int]  # static routes a router can tell apart
    reserved_colours: Fact[int]  # of these, for copies to and from the host
    clock_hz: Fact[float]
    simd_width: Fact[int]  # 16-bit multiply-adds per cycle
    hop_cycles: Fact[int]  # router to router
    ramp_cycles: Fact[int]  # core to its router, each way
    queue_words: Fact[int]  # room for a colour where it enters a router, and a core
    vector_issue_cycles: Fact[float]  # O: what each vector instruction costs before its elements
    relay_cycles: Fact[float]  # BETA: ramps and software of each dependent receive, add, forward
    read_ports: Fact[int]  # of SRAM, per core and cycle
    write_ports: Fact[int]
    port_bytes: Fact[int]
    power_w: Fact[float]

    @property
    def usable_bytes(self) -> int:
        """Bytes of a core that weights, cache and vectors may take."""
        return self.sram_bytes_per_core.value - self.reserved_bytes.value

    @property
    def cores(self) -> int:
        """Cores in the mesh."""
        return self.columns.value * self.rows.value

    @property
    def usable_colours(self) -> int:
        """Colours left to a placement."""
        return self.colours.value - self.reserved_colours.value

    def facts(self) -> Iterator[tuple[str, Fact[int] | Fact[float]]]:
        """Every constant by name, in order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fact):
                yield field.name, value


_SDK = "compile flags of public kernels, less what host copies take"
_HOT_CHIPS = "Hot Chips 34, IEEE Micro 2023"
_FIT = "fitted on the three LLaMA3-8B decode rows of WaferLLM (OSDI 2025)"
_CHOSEN = "chosen for tests"

WSE2 = Machine(
    name="WSE-2",
    columns=Fact(750, "cores", "H", _SDK),
    rows=Fact(994, "cores", "H", _SDK),
    sram_bytes_per_core=Fact(48 << 10, "B", "H", _HOT_CHIPS),
    reserved_bytes=Fact(6 << 10, "B", "A", "nothing public; one kernel's code takes about 14.5 KB"),
    colours=Fact(24, "colours", "H", _HOT_CHIPS),
    reserved_colours=Fact(4, "colours", "A", "two axes take 20 of 24; the rest left to the host"),
    clock_hz=Fact(1.1e9, "Hz", "M", "maximum; HPDC 2024 used 850 MHz"),
    simd_width=Fact(4, "multiply-adds", "H", "Next Platform, vendor"),
    hop_cycles=Fact(1, "cycles", "H", _HOT_CHIPS),
    ramp_cycles=Fact(2, "cycles", "M", "HPDC 2024, read in summary"),
    queue_words=Fact(4, "words", "A", "nothing public; enough for a ramp at full rate"),
    vector_issue_cycles=Fact(25.0, "cycles", "L", _FIT),
    relay_cycles=Fact(22.3, "cycles", "L", _FIT),
    read_ports=Fact(2, "ports", "H", _HOT_CHIPS),
    write_ports=Fact(1, "ports", "H", _HOT_CHIPS),
    port_bytes=Fact(8, "B", "H", _HOT_CHIPS),
    power_w=Fact(15_000.0, "W", "M", "what WaferLLM's energy ratios use; peak 23 kW"),
)

WSE3 = replace(
    WSE2,
    name="WSE-3",
    columns=Fact(755, "cores", "H", _SDK),
    rows=Fact(1_170, "cores", "H", _SDK),
    clock_hz=Fact(1.1e9, "Hz", "M", "used in public kernels"),
    simd_width=Fact(8, "multiply-adds", "H", "Next Platform, vendor"),
    power_w=Fact(23_000.0, "W", "M", "peak; 15-23 kW quoted"),
)


def whole(machine: Machine) -> Machine:
    """The machine with its fitted constants in whole cycles, as events take them."""
    return replace(
        machine,
        vector_issue_cycles=_rounded(machine.vector_issue_cycles),
        relay_cycles=_rounded(machine.relay_cycles),
    )


def _rounded(fact: Fact[float]) -> Fact[float]:
    return replace(fact, value=float(round(fact.value)), source=f"{fact.source}, rounded")


def mesh(columns: int, rows: int) -> Machine:
    """A mesh of WSE-2 cores for tests. Raises ConfigError unless 1..4096 cores a side."""
    if not (1 <= columns <= LARGEST_SIDE and 1 <= rows <= LARGEST_SIDE):
        raise ConfigError(f"a mesh of {columns}x{rows} cores: each side is 1 to {LARGEST_SIDE}")
    return replace(
        WSE2,
        name=f"{columns}x{rows}",
        columns=Fact(columns, "cores", "A", _CHOSEN),
        rows=Fact(rows, "cores", "A", _CHOSEN),
    )


def machine_named(name: str) -> Machine:
    """`wse2`, `wse3`, or a mesh as `16x16` (columns x rows). Raises ConfigError for another."""
    named = {"wse2": WSE2, "wse3": WSE3}.get(name.lower().replace("-", ""))
    if named is not None:
        return named
    sides = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", name)
    if sides is None:
        raise ConfigError(f"'{name}' is no mesh: wse2, wse3, or columns x rows such as 16x16")
    return mesh(int(sides[1]), int(sides[2]))
