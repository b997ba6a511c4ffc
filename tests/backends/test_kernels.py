"""Each kernel by itself, on every instruction set of this machine: native/tests/kernels_agree."""

import subprocess
from pathlib import Path

import pytest

from tests.backends.cpu_cases import ISAS

BUILDS = Path(__file__).parents[2] / "build"
SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(3, 60))]


@pytest.fixture(scope="session")
def kernels_agree() -> Path:
    """The program of the latest build."""
    found = sorted(BUILDS.glob("cp*/kernels_agree"), key=lambda path: path.stat().st_mtime)
    assert found, "`make .venv/.dev` builds it together with the native library"
    return found[-1]


def run(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_instruction_set_agrees_with_the_scalar_one(kernels_agree: Path, seed: int) -> None:
    done = run(kernels_agree, "--seed", str(seed), *ISAS)
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(ISAS)


def test_an_instruction_set_that_is_asked_for_must_be_there(kernels_agree: Path) -> None:
    done = run(kernels_agree, "abacus")
    assert done.returncode != 0
    assert "abacus does not run here" in done.stdout
