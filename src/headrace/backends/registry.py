"""Backends by name. Each is imported only when asked for, so every machine imports everything."""

from collections.abc import Callable
from pathlib import Path

from headrace.backends.base import Backend, MappedWeights, Weights
from headrace.errors import ConfigError
from headrace.model.program import Program

Progress = Callable[[int, int], None]  # bytes packed so far, bytes in all

BACKENDS = ("cpu", "null", "reference", "wafer")


def load_backend(  # noqa: PLR0913 (one option or two of each backend)
    name: str,
    program: Program,
    weights: Weights,
    *,
    num_blocks: int,
    threads: int = 0,
    mesh: str = "64x64",
    packed: Path | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Load `program` with `weights` on the named backend.

    `threads` is the cpu backend's number of workers, 0 for one per physical core; `mesh` the
    machine that the wafer backend simulates; `packed` a folder where packed weights may be kept.
    Afterwards no file of the weights is open. Raises ConfigError for an unknown name,
    PlacementError when the mesh cannot hold the model, KernelMissing when the backend cannot run
    here.
    """
    try:
        match name:
            case "cpu":
                from headrace.backends.cpu import CpuBackend, PackedCache

                return CpuBackend(
                    program,
                    weights,
                    num_blocks=num_blocks,
                    threads=threads,
                    packed=PackedCache(packed) if packed else None,
                    progress=progress,
                )
            case "reference":
                from headrace.backends.reference import ReferenceBackend

                return ReferenceBackend(program, weights, num_blocks=num_blocks)
            case "null":
                from headrace.backends.null import NullBackend

                return NullBackend(program, num_blocks=num_blocks)
            case "wafer":
                from headrace.backends.wafer import WaferBackend
                from headrace.wafer.machine import machine_named

                machine = machine_named(mesh)
                return WaferBackend(program, weights, num_blocks=num_blocks, machine=machine)
            case _:
                raise ConfigError(f"unknown backend '{name}'; known: {', '.join(BACKENDS)}")
    finally:
        if isinstance(weights, MappedWeights):
            weights.close()
