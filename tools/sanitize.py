"""Run the native library's tests built with a sanitizer.

    python tools/sanitize.py address   # AddressSanitizer and UndefinedBehaviorSanitizer
    python tools/sanitize.py thread    # ThreadSanitizer

First the program that compares the kernels, on every instruction set. Then the cpu backend's tests,
of instruction sets the fastest only: above the kernels all run the same code. Properties get fewer
examples (the profile `sanitized`), and what takes minutes even so is left out, by name (LONG).

The library is built under build/sanitize-KIND and laid over a copy of the package there; what the
sanitizer finds ends the run. Python itself is not instrumented: its own leaks are not looked for.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from headrace.backends.cpu import cpu_features

ROOT = Path(__file__).resolve().parent.parent
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
LIBRARIES = {"address": "libasan.so", "thread": "libtsan.so"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}
# Run as Python starts: an editable install otherwise leads every import back to its own library.
ONLY_THE_COPY = """\
import sys
skipped = "ScikitBuildRedirectingFinder"
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != skipped]
"""
LONG = {"test_cpu_far.py"}  # 131,072 positions: the same kernels, for hours


def main() -> int:
    """Build, copy, run; the exit status is that of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=SANITIZERS)
    parser.add_argument("tests", nargs="*", help="what to run instead of the cpu backend's tests")
    asked = parser.parse_args()
    build = ROOT / "build" / f"sanitize-{asked.kind}"
    package = build / "package"
    _build(build, SANITIZERS[asked.kind])
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src", package, ignore=shutil.ignore_patterns("_native*.so"))
    module = "_native" + sysconfig.get_config_var("EXT_SUFFIX")
    library = package / "headrace/backends/cpu" / module
    shutil.copy(build / module, library)
    (package / "sitecustomize.py").write_text(ONLY_THE_COPY)
    environment = {
        **os.environ,  # noqa: TID251 (what a child inherits)
        **OPTIONS,
        "PYTHONPATH": f"{package}{os.pathsep}{ROOT}",
        # The sanitizer has to know the C++ library's throw before the module brings it along.
        "LD_PRELOAD": " ".join(map(_library, (LIBRARIES[asked.kind], "libstdc++.so.6"))),
    }
    agree = {**os.environ, **OPTIONS}  # noqa: TID251
    subprocess.run([build / "kernels_agree", *cpu_features()], env=agree, check=True)
    ask = "from headrace.backends.cpu import _native; print(_native.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", ask], env=environment, check=True, capture_output=True, text=True
    )
    if Path(done.stdout.strip()) != library:
        sys.exit(f"the tests would run {done.stdout.strip()}, not {library}")
    tests = [str(Path(name).resolve()) for name in asked.tests] or _cpu_tests()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "900"]
    # What a sanitizer writes before it ends the process has to stay visible.
    command += ["--capture", "sys"]
    command += ["--hypothesis-profile", "sanitized", "--durations", "5", "-k", _fastest_only()]
    return subprocess.run([*command, *tests], env=environment, cwd=build, check=False).returncode


def _fastest_only() -> str:
    """Tests of the fastest instruction set, and those of none."""
    *slower, fastest = cpu_features()
    return f"{fastest} or not ({' or '.join(slower)})" if slower else fastest


def _cpu_tests() -> list[str]:
    folder = ROOT / "tests" / "backends"
    found = [*sorted(folder.glob("test_cpu*.py")), folder / "test_steps.py"]
    return [str(path) for path in found if path.name not in LONG]


def _build(build: Path, sanitizers: str) -> None:
    configure = ["cmake", "-S", ROOT / "native", "-B", build, "-G", "Ninja"]
    options = [f"-DHEADRACE_SANITIZE={sanitizers}", f"-DPython_EXECUTABLE={sys.executable}"]
    options += ["-DHEADRACE_TESTS=ON"]
    subprocess.run([*configure, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build], check=True)


def _library(name: str) -> str:
    """Where the compiler keeps the sanitizer's run-time library."""
    done = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
