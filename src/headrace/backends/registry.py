"""Backends by name. Each is imported only when asked for, so every machine imports everything."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.backends.base import Backend, MappedWeights, Weights
from headrace.errors import ConfigError
from headrace.model.program import Program

Progress = Callable[[int, int], None]  # bytes packed so far, bytes in all

BACKENDS = ("cpu", "cuda", "null", "reference", "wafer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one backend or another wants to know."""

    threads: int = 0  # cpu: workers, 0 for one per physical core
    packed: Path | None = None  # cpu: a folder where packed weights may be kept
    mesh: str = "64x64"  # wafer: the machine it simulates
    steps_per_s: float = 0.0  # null: how fast it pretends to be; 0: flat out


def load_backend(
    name: str,
    program: Program,
    weights: Weights,
    *,
    num_blocks: int,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Load `program` with `weights` on the named backend.

    Afterwards no file of the weights is open. Raises ConfigError for an unknown name,
    PlacementError when the mesh cannot hold the model, KernelMissing when the backend cannot run
    here.
    """
    options = options or Options()
    try:
        match name:
            case "cpu":
                from headrace.backends.cpu import CpuBackend, PackedCache

                return CpuBackend(
                    program,
                    weights,
                    num_blocks=num_blocks,
                    threads=options.threads,
                    packed=PackedCache(options.packed) if options.packed else None,
                    progress=progress,
                )
            case "cuda":
                from headrace.backends.cuda import load_cuda

                return load_cuda(program, weights, num_blocks=num_blocks, progress=progress)
            case "reference":
                from headrace.backends.reference import ReferenceBackend

                return ReferenceBackend(program, weights, num_blocks=num_blocks)
            case "null":
                from headrace.backends.null import NullBackend

                pace = options.steps_per_s or None
                return NullBackend(program, num_blocks=num_blocks, steps_per_s=pace)
            case "wafer":
                from headrace.backends.wafer import WaferBackend
                from headrace.wafer.machine import machine_named

                machine = machine_named(options.mesh)
                return WaferBackend(program, weights, num_blocks=num_blocks, machine=machine)
            case _:
                raise ConfigError(f"unknown backend '{name}'; known: {', '.join(BACKENDS)}")
    finally:
        if isinstance(weights, MappedWeights):
            weights.close()
