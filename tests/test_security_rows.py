"""Each row of docs/security.md has the tests that it names, and tests guard no other rows."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import headrace

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs/security.md"
PACKAGE = Path(headrace.__file__).parent
LINE = re.compile(r"\| (D\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \| ([^|]+) \|")

# Rows on request bodies (D02-D08), accounts (D20-D39), parameters and text (D40-D62), structured
# output (D64-D74) and templates (D78); the security review numbers them, and has no D63.
SCOPE = (
    *("D02", "D03", "D04", "D05", "D06", "D08"),
    *(f"D{number}" for number in range(20, 75) if number != 63),
    "D78",
)


def rows() -> dict[str, tuple[str, str]]:
    """By row: the cells that name sources and tests."""
    return {row: (sources, tests) for row, sources, tests in LINE.findall(PAGE.read_text())}


@cache
def marked() -> dict[str, set[str]]:
    """By row: the files whose tests carry its mark, or list it among their cases."""
    found: dict[str, set[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for row in rows_in(ast.parse(file.read_text())):
            found.setdefault(row, set()).add(str(file.relative_to(TESTS)))
    return found


def rows_in(tree: ast.Module) -> set[str]:
    """The rows a file marks: `guards("D40")`, and cases of a table whose marks come from it."""
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.guards"
    ]
    direct = {a.value for node in guards for a in node.args if isinstance(a, ast.Constant)}
    if any(isinstance(argument, ast.Name) for node in guards for argument in node.args):
        direct |= {
            node.elts[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Tuple)
            and node.elts
            and isinstance(node.elts[0], ast.Constant)
            and re.fullmatch(r"D\d\d", str(node.elts[0].value))
        }
    return {str(row) for row in direct}


def quoted(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_the_page_has_each_row_once() -> None:
    listed = [row for row, *_ in LINE.findall(PAGE.read_text())]
    assert sorted(listed) == sorted(SCOPE)


@pytest.mark.parametrize("row", SCOPE)
def test_a_row_has_the_tests_it_names(row: str) -> None:
    _, tests = rows()[row]
    assert marked().get(row, set()) == quoted(tests)
    assert quoted(tests)


@pytest.mark.parametrize("row", SCOPE)
def test_a_row_names_sources_that_are_there(row: str) -> None:
    sources, _ = rows()[row]
    assert all((PACKAGE / source).exists() for source in quoted(sources))


def test_no_test_guards_a_row_that_is_not_listed() -> None:
    assert set(marked()) <= set(SCOPE)
