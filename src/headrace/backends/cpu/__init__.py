"""The cpu backend: the whole step in one native call, weights packed and resident.

Importing this needs no native library; using it does, and raises KernelMissing without one.
"""

from headrace.backends.cpu.backend import CpuBackend, relative_error_bound
from headrace.backends.cpu.packed_cache import PackedCache
from headrace.backends.cpu.probe import (
    barrier_seconds,
    cpu_features,
    physical_cores,
    read_bandwidth,
    round_trip_seconds,
)

__all__ = [
    "CpuBackend",
    "PackedCache",
    "barrier_seconds",
    "cpu_features",
    "physical_cores",
    "read_bandwidth",
    "relative_error_bound",
    "round_trip_seconds",
]
