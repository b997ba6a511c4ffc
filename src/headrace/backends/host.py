"""What the machine is, as the operating system tells it. Linux; elsewhere the facts are unknown."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts; a zero or an empty value means the system does not tell."""

    cpu: str
    logical_cpus: int  # this process may use
    physical_cores: int  # among them
    caches: dict[str, int]  # "L1d", "L2", "L3" -> bytes of one instance
    memory_bytes: int
    gpus: tuple[str, ...]


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
