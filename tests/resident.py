"""What of a file this process has mapped, as the kernel counts it (proc(5), smaps)."""

from pathlib import Path


def resident_bytes(path: Path) -> int:
    """Bytes in memory of the mappings of `path`, or of the files in it."""
    return sum(_mappings(path))


def is_mapped(path: Path) -> bool:
    """Whether `path`, or a file in it, is mapped."""
    return bool(_mappings(path))


def _mappings(path: Path) -> list[int]:
    found: list[int] = []
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            ours = len(words) > 5 and words[5].startswith(str(path))
        elif ours and words[0] == "Rss:":
            found.append(int(words[1]) * 1024)
    return found
