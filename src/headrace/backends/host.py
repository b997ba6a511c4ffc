"""What the machine is, as the operating system tells it. Linux; elsewhere the facts are unknown."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts; a zero or an empty value means the system does not tell."""

    cpu: str
    logical_cpus: int  # this process may use
    physical_cores: int  # among them
    caches: dict[str, int]  # "L1d", "L2", "L3" -> bytes of one instance
    memory_bytes: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What this process may have, of the machine or of the control groups it is in; 0: unknown."""

    total_bytes: int
    available_bytes: int  # now, without swapping; page cache that can be dropped is


def read_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> Memory:
    """The tightest of the machine and of each control group above this process.

    See meminfo in proc(5), and the memory files of cgroups(7), of version 2 and 1. `proc` and
    `cgroups` are where these are mounted.
    """
    machine = Memory(
        total_bytes=_kilobytes(_field(proc / "meminfo", "MemTotal")),
        available_bytes=_kilobytes(_field(proc / "meminfo", "MemAvailable")),
    )
    found = [machine, *_group_limits(proc, cgroups, machine.total_bytes)]
    return Memory(
        total_bytes=min(memory.total_bytes for memory in found),
        available_bytes=max(0, min(memory.available_bytes for memory in found)),
    )


def _group_limits(proc: Path, cgroups: Path, total_bytes: int) -> Iterator[Memory]:
    for line in _read(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            memory = _group_memory(group, *names)
            if memory is not None and memory.total_bytes < total_bytes:
                yield memory
            if group == root:
                break


def _group_memory(group: Path, limit: str, usage: str, prefix: str) -> Memory | None:
    most, used = _read(group / limit), _read(group / usage)
    if not most.isdigit() or not used.isdigit():
        return None  # "max": no limit here; or no such file
    kinds = {f"{prefix}active_file", f"{prefix}inactive_file"}
    lines = (line.split() for line in _read(group / "memory.stat").splitlines())
    cached = sum(int(words[1]) for words in lines if words[0] in kinds)
    return Memory(total_bytes=int(most), available_bytes=int(most) - int(used) + cached)


def read_host() -> Host:
    """The facts of this machine, from /proc and /sys."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = {_read(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in usable}
    return Host(
        cpu=_field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        logical_cpus=len(usable) or os.cpu_count() or 1,
        physical_cores=len(cores) or os.cpu_count() or 1,
        caches=_caches(usable[0] if usable else 0),
        memory_bytes=_kilobytes(_field(Path("/proc/meminfo"), "MemTotal")),
        gpus=_gpus(),
    )


def _caches(cpu: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for index in sorted((CPUS / f"cpu{cpu}/cache").glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[:-1]) * 1024
    return found


def _gpus() -> tuple[str, ...]:
    if not NVIDIA_GPUS.is_dir():
        return ()
    return tuple(_field(gpu / "information", "Model") for gpu in sorted(NVIDIA_GPUS.iterdir()))


def _field(file: Path, name: str) -> str:
    for line in _read(file).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _kilobytes(text: str) -> int:
    number = text.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdigit() else 0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
