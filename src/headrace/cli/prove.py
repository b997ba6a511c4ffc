"""`headrace prove`: what is promised, tried here and now, in one page."""

import os
import platform
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from headrace import __version__
from headrace.cli.output import print_json, say
from headrace.clock import SystemClock
from headrace.errors import ConfigError
from headrace.model import bundled_model
from headrace.prove import (
    Point,
    page,
    prove_books,
    prove_parity,
    prove_roofline,
    prove_schemas,
)


class Name(StrEnum):
    """A point."""

    PARITY = "parity"
    SCHEMAS = "schemas"
    BOOKS = "books"
    ROOFLINE = "roofline"


def prove(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: bundled")
    ] = None,
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("headrace-prove.html"),
    only: Annotated[list[Name] | None, typer.Option(help="these points; default: all")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="of all that is drawn")] = None,
    least_share: Annotated[
        float, typer.Option(min=0, max=1, help="of the bandwidth; a busy machine gives less")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Try parity, schemas, the books after kill -9, and speed. Status 1 when one does not hold."""
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: there is no folder {out.parent}")
    folder = model or bundled_model()
    again = "headrace prove" if model is None else f"headrace prove {shlex.quote(str(model))}"
    drawn = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    points: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="headrace-prove-") as made:
        for name in only or list(Name):
            place = Path(made) / name
            place.mkdir()
            points.append(_tries(folder, place, again, drawn, least_share)[name]())
            _tell(points[-1])
    title = f"Headrace on {folder.name}"
    told = f"Headrace {__version__} · {_machine()} · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    try:
        out.write_text(page(points, title=title, told=told), encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{out} cannot be written: {exc}") from exc
    if as_json:
        listed = [{**asdict(point), "is_green": point.is_green} for point in points]
        print_json({"page": str(out), "seed": drawn, "points": listed})
    else:
        say(f"the page: {out}")
    if not all(point.is_green for point in points):
        raise typer.Exit(1)


def _tries(
    model: Path, place: Path, again: str, seed: int, least_share: float
) -> dict[Name, Callable[[], Point]]:
    return {
        Name.PARITY: partial(prove_parity, model, again),
        Name.SCHEMAS: partial(prove_schemas, model, place, again, seed=seed),
        Name.BOOKS: partial(prove_books, model, place, again, seed=seed),
        Name.ROOFLINE: partial(
            prove_roofline, model, SystemClock(), again, least_share=least_share
        ),
    }


def _tell(point: Point) -> None:
    word, style = ("holds", "green") if point.is_green else ("does not hold", "red")
    say(f"{point.name} {word}: " + "; ".join(f"{label} {value}" for label, value in point.facts))
    for fault in point.faults:
        say(f"  {fault}", style=style)


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()}"
