"""How fast this machine reads, by working set: its caches, and main memory."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.backends.cpu import read_bandwidth

MEGABYTE = 1 << 20
UNKNOWN_L2_BYTES = MEGABYTE  # where the system does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingSet:
    """So many bytes, read over and over by all threads together, each its own part."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSpeed:
    """What was measured for one working set."""

    name: str
    bytes: int
    one_thread_gb_s: float
    all_threads_gb_s: float


def working_sets(
    caches: Mapping[str, int], threads: int, available_bytes: int
) -> tuple[WorkingSet, ...]:
    """What is worth measuring on a machine with such caches, smallest first.

    `caches` has bytes per level, as `Host.caches`. No set takes more than a quarter of
    `available_bytes`, so without memory to spare main memory is left out.
    """
    l2 = caches.get("L2") or UNKNOWN_L2_BYTES
    l3 = caches.get("L3", 0)
    sets = [
        WorkingSet(name="half of an L2 cache", bytes=l2 // 2),
        WorkingSet(name="a 5M-weight model", bytes=10 * MEGABYTE),
        WorkingSet(name="a 14M-weight model", bytes=28 * MEGABYTE),
        WorkingSet(name="main memory", bytes=max(512 * MEGABYTE, 3 * l3)),
    ]
    if threads > 1:
        sets.append(WorkingSet(name="most of all L2 caches", bytes=l2 * threads * 3 // 4))
    if l3:
        # All that is certain of a cache other machines on the same processor may use as well.
        sets.append(WorkingSet(name="half of the L3 cache", bytes=l3 // 2))
    fitting = (s for s in sets if s.bytes <= available_bytes // 4)
    return tuple(sorted(fitting, key=lambda s: s.bytes))


def measure(wanted: WorkingSet, threads: int, *, seconds: float = 0.1) -> ReadSpeed:
    """Read `wanted` with one thread and with `threads`; a little over `seconds` for each.

    Raises KernelMissing without the native library.
    """
    one, many = (read_bandwidth(wanted.bytes, count, seconds) / 1e9 for count in (1, threads))
    return ReadSpeed(
        name=wanted.name, bytes=wanted.bytes, one_thread_gb_s=one, all_threads_gb_s=many
    )
