import os
from pathlib import Path

from headrace.backends.host import Memory, read_host, read_memory


def test_the_facts_agree_with_what_python_knows() -> None:
    host = read_host()
    assert host.logical_cpus == len(os.sched_getaffinity(0))
    assert 1 <= host.physical_cores <= host.logical_cpus
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(host.memory_bytes - pages) < pages / 10
    assert host.cpu


def made(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / "proc", root / "cgroup"


MEMINFO = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:   9000 kB\n"
KB = 1024


def test_memory_is_what_the_machine_has_available(tmp_path: Path) -> None:
    places = made(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"})
    assert read_memory(*places) == Memory(total_bytes=16_000 * KB, available_bytes=9_000 * KB)
    real = read_memory()
    assert 0 < real.available_bytes <= real.total_bytes <= read_host().memory_bytes


def test_the_tightest_control_group_decides(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/a/b\n",
        "cgroup/a/memory.max": f"{4_000 * KB}\n",
        "cgroup/a/memory.current": f"{3_000 * KB}\n",
        "cgroup/a/memory.stat": f"anon 7\nactive_file {300 * KB}\ninactive_file {200 * KB}\n",
        "cgroup/a/b/memory.max": "max\n",
        "cgroup/a/b/memory.current": "5\n",
    }
    memory = read_memory(*made(tmp_path, files))
    # What files take of the group's share can be dropped: 4000 - 3000 + 500.
    assert memory == Memory(total_bytes=4_000 * KB, available_bytes=1_500 * KB)


def test_groups_of_the_first_version_are_heeded(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:cpu:/x\n4:memory:/a\n0::/\n",
        "cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
        "cgroup/memory/memory.usage_in_bytes": "5\n",
        "cgroup/memory/a/memory.limit_in_bytes": f"{2_000 * KB}\n",
        "cgroup/memory/a/memory.usage_in_bytes": f"{500 * KB}\n",
        "cgroup/memory/a/memory.stat": f"total_active_file {100 * KB}\nactive_file 1\n",
    }
    memory = read_memory(*made(tmp_path, files))
    assert memory == Memory(total_bytes=2_000 * KB, available_bytes=1_600 * KB)


def test_a_group_seen_from_inside_a_container_is_found(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/outside/name\n",
        "cgroup/memory/memory.limit_in_bytes": f"{2_000 * KB}\n",
        "cgroup/memory/memory.usage_in_bytes": f"{2_500 * KB}\n",
    }
    memory = read_memory(*made(tmp_path, files))
    assert memory == Memory(total_bytes=2_000 * KB, available_bytes=0)


def test_a_system_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    assert read_memory(tmp_path, tmp_path) == Memory(total_bytes=0, available_bytes=0)
