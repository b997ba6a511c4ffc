"""SQL is in `store/` only, and its values are bound, never written into it."""

import ast
import re
from pathlib import Path

import pytest

import headrace

PACKAGE = Path(headrace.__file__).parent
SQL = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER)\s+\w", re.IGNORECASE)


TABLES = re.compile(
    r"\b(FROM|INTO|UPDATE) (api_keys|organisations|projects|users|sessions|invites|audit_log)\b"
)


def files(where: Path) -> list[Path]:
    return sorted(where.rglob("*.py"))


def test_no_sql_outside_the_store():
    for file in files(PACKAGE):
        if file.is_relative_to(PACKAGE / "store"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not TABLES.search(node.value), file
            assert not (
                isinstance(node, ast.Import) and any(a.name == "sqlite3" for a in node.names)
            )


@pytest.mark.guards("D21")
def test_what_is_executed_is_written_in_the_source():
    """A text, a constant of the module, or a loop's own variable over such."""
    seen = 0
    for file in files(PACKAGE / "store"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in ("execute", "executemany", "executescript"):
                continue
            (statement, *_) = node.args
            seen += 1
            is_fixed = isinstance(statement, ast.Constant) or (
                isinstance(statement, ast.Name)
                and (statement.id.isupper() or statement.id in ("pragma", "statement"))
            )
            assert is_fixed, f"{file}:{node.lineno}"
    assert seen >= 30


@pytest.mark.guards("D21")
def test_no_statement_is_built_from_values():
    seen = 0
    for file in files(PACKAGE / "store"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                seen += bool(SQL.match(node.value))
            if isinstance(node, ast.JoinedStr):
                first = node.values[0]
                text = first.value if isinstance(first, ast.Constant) else ""
                assert not SQL.match(str(text)), f"{file}: f-string {text!r}"
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
                assert not isinstance(node.left, ast.Constant), f"{file}: % on a string"
            if isinstance(node, ast.Attribute):
                assert node.attr != "format", f"{file}: .format"
    assert seen >= 6
