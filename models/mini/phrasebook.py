"""The phrase book: the TOML pages of `phrases/`, where questions and answers are kept as data."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("phrases")


def page(name: str) -> dict[str, Any]:
    """One page as it stands."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def rows(name: str, *keys: str) -> list[tuple[Any, ...]]:
    """The entries of a page as tuples of the given keys, in the page's order."""
    return [tuple(entry[key] for key in keys) for entry in page(name)["entries"]]
