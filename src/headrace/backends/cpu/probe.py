"""What this machine is, and how fast, measured by the native library. All raise KernelMissing."""

from headrace.backends.cpu.library import require_native

_BEYOND_CACHES = 1 << 30  # bytes; several times the largest cache of a server processor today


def cpu_features() -> tuple[str, ...]:
    """Instruction sets whose kernels run here, slowest first; `scalar` always does."""
    require_native()
    from headrace.backends.cpu import _native

    return tuple(_native.available_isas())


def physical_cores() -> int:
    """Cores this process may use; hyper-threads of one core count once, CPU quotas are heeded."""
    require_native()
    from headrace.backends.cpu import _native

    return _native.physical_cores()


def read_bandwidth(working_set_bytes: int, threads: int, seconds: float = 0.2) -> float:
    """Bytes per second that `threads` read together, over and over, from a working set.

    The fastest stretch of about 2 ms within `seconds`: other processes can only take away. The
    working set should be what a step reads, because a cache level may hold it. Beyond a gigabyte
    none does: a gigabyte is read then, since a large model leaves no memory for a second one.
    """
    require_native()
    from headrace.backends.cpu import _native

    return _native.read_bandwidth(min(working_set_bytes, _BEYOND_CACHES), threads, seconds)


def barrier_seconds(threads: int) -> float:
    """Seconds one barrier between `threads` workers takes, the best of several bursts."""
    require_native()
    from headrace.backends.cpu import _native

    return _native.barrier_seconds(threads)


def round_trip_seconds() -> float | None:
    """Seconds a cache line takes from one core to another and back, the best of several bursts.

    None when this process may use one processor only. It tells in which of its states a virtual
    machine is: cores that share a cache complex answer in 30 to 80 ns, others in 100 to 400.
    """
    require_native()
    from headrace.backends.cpu import _native

    return _native.round_trip_seconds()
