"""How long a machine takes over each kind of phase: the same names for every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from headrace.model.lowering import (
    Attention,
    EmbedRows,
    GatedMlp,
    HeadLinears,
    HeadSample,
    LinearResidual,
    MixtureMlp,
    NormLinear,
    Phase,
    Single,
)

EMBEDDING = "embedding"
PROJECTIONS = "norm, q, k, v"
ATTENTION = "attention"
OUTPUT = "attention output"
GATE_UP = "norm, gate, up"
DOWN = "down"
EXPERTS = "experts"
HEAD = "head, draw"
ALONE = "single operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """All phases of one kind together, of one token."""

    name: str
    seconds: float


@runtime_checkable
class WatchesPhases(Protocol):
    """A backend that can tell how long its phases take."""

    def watch_phases(self, on: bool) -> None:
        """Take it down from now on, for steps that decode; or no more."""
        ...

    def phase_times(self) -> tuple[PhaseTime, ...]:
        """The mean over the steps since then; nothing before the first."""
        ...


def phase_names(phases: Sequence[Phase]) -> tuple[str, ...]:
    """What each phase is called."""
    names: list[str] = []
    for phase in phases:
        match phase:
            case EmbedRows():
                name = EMBEDDING
            case NormLinear():
                name = PROJECTIONS
            case Attention():
                name = ATTENTION
            case LinearResidual() | HeadLinears():
                name = DOWN if names and names[-1] == GATE_UP else OUTPUT
            case GatedMlp():
                name = GATE_UP
            case MixtureMlp():
                name = EXPERTS
            case HeadSample():
                name = HEAD
            case Single():
                name = ALONE
        names.append(name)
    return tuple(names)


def summed(names: Sequence[str], seconds: Sequence[float], steps: int) -> tuple[PhaseTime, ...]:
    """Phases of one name together, in the order of their first; `seconds` are of all `steps`."""
    found: dict[str, float] = {}
    for name, spent in zip(names, seconds, strict=True):
        found[name] = found.get(name, 0.0) + spent
    return tuple(PhaseTime(name=name, seconds=spent / steps) for name, spent in found.items())
