"""Which module builds which architecture: found, not listed.

A family is a module of this package that defines `ARCHITECTURES`, the names `config.json` may give
it, and `build(config: ConfigJson) -> Program`. Nothing is ever imported by a checkpoint's word.
"""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.plain_file import shown
from headrace.model.program import Program

NAMES = "ARCHITECTURES"  # what a family, and nothing else here, defines

Builder = Callable[[ConfigJson], Program]


class _Family(Protocol):
    ARCHITECTURES: tuple[str, ...]
    build: Builder


@cache
def builders() -> Mapping[str, Builder]:
    """The function that builds each known architecture, by name."""
    found: dict[str, Builder] = {}
    here = Path(__file__).parent
    for module in pkgutil.iter_modules([str(here)]):
        source = here / f"{module.name}.py"
        if source.exists() and NAMES not in source.read_text(encoding="utf-8"):
            continue  # not imported for nothing: an engine starts without the tokenizers' library
        family = cast("_Family", import_module(f"{__package__}.{module.name}"))
        for name in getattr(family, NAMES, ()):
            assert name not in found, f"{name} is built twice"
            found[name] = family.build
    return found


def build_program(config: Mapping[str, object], *, context: int | None = None) -> Program:
    """The program of a checkpoint's `config.json`, for sequences of up to `context` tokens.

    `context` None: as many as the checkpoint allows, which is never exceeded. Raises
    CheckpointError when the architecture is unknown, with the list of known ones, or when a value
    is missing or out of range.
    """
    named: object = config.get("architectures")
    names = cast("list[object]", named) if isinstance(named, list) else []
    known = builders()
    for name in names:
        if isinstance(name, str) and name in known:
            return known[name](ConfigJson({**config, "architectures": [name]}, context=context))
    raise CheckpointError(
        f"config.json: architecture {shown(cast('object', named))} is not known; "
        f"known: {', '.join(sorted(known))}"
    )
