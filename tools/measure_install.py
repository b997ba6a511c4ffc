"""How much the core install takes: a fresh environment, the project without extras, bytes counted.

    python tools/measure_install.py

Prints one JSON object: megabytes (10^6 bytes) in all and by package, without pip and setuptools,
which came with the environment, and without bytecode, which Python writes as it runs.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


def main() -> None:
    """Install, count, print."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        started_s = time.perf_counter()
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-compile", str(ROOT)], check=True
        )
        took_s = time.perf_counter() - started_s
        site = next(Path(folder).glob("lib/python*/site-packages"))
        sizes = count(site)
    json.dump(
        {
            "total_mb": round(sum(sizes.values()) / 1e6, 1),
            "install_s": round(took_s, 1),
            "has_torch": any(name.startswith("torch") for name in sizes),
            "largest_mb": {name: round(size / 1e6, 1) for name, size in sizes.most_common(12)},
        },
        sys.stdout,
        indent=2,
    )
    sys.stdout.write("\n")


def count(site: Path) -> Counter[str]:
    """Bytes by top-level name."""
    sizes: Counter[str] = Counter()
    for file in site.rglob("*"):
        name = file.relative_to(site).parts[0]
        if file.is_file() and "__pycache__" not in file.parts and not name.startswith(NOT_OURS):
            sizes[name] += file.stat().st_size
    return sizes


if __name__ == "__main__":
    main()
