"""Imports point down the layers of ARCHITECTURE.md, and nowhere else."""

import ast
from pathlib import Path

import pytest

import headrace

PACKAGE = Path(headrace.__file__).parent
ROWS = [
    {"wafer", "model"},
    {"store", "backends", "planner"},
    {"accounts", "metering", "engine"},
    {"admission", "gateway", "backup"},
    {"api", "console", "bench"},
    {"prove"},
    {"cli"},
]
ROW = {folder: i for i, folders in enumerate(ROWS) for folder in folders}
LOOSE = {"types", "errors", "config", "clock", "telemetry", "lazy"}


def imports_between_folders() -> list[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for file in PACKAGE.rglob("*.py"):
        source = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: imports are absolute"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == "headrace" and len(parts) > 1 and parts[1] != source:
                    found.add((source, parts[1]))
    return sorted(found)


def test_the_walk_sees_the_imports_it_judges() -> None:
    assert ("engine", "backends") in imports_between_folders()
    assert ("backends", "model") in imports_between_folders()


@pytest.mark.parametrize(("source", "target"), imports_between_folders())
def test_imports_point_down(source: str, target: str) -> None:
    if target in LOOSE | {"__version__"}:
        return
    assert source not in LOOSE, f"{source} is ground: it must not import {target}"
    if source == "__main__":
        assert target == "cli"
        return
    assert ROW[target] < ROW[source], f"{source} must not import {target}"


def test_every_folder_has_a_row() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(ROW) | LOOSE


def test_no_drawers() -> None:
    banned = {"utils", "helpers", "common", "misc", "core", "manager"}
    assert not [p for p in PACKAGE.rglob("*.py") if p.stem in banned]
