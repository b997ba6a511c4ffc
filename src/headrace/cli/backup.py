"""`headrace backup`: the state of the home folder in one file, while the server runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from headrace import config as settings
from headrace.backup import take
from headrace.cli.output import print_json, say
from headrace.clock import SystemClock


def backup(
    file: Annotated[Path, typer.Argument(help="to write; must not be there yet")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Write accounts, keys, use and money to one file. It holds secrets: keep it as they are."""
    found = take(settings.load().home, file, SystemClock())
    if as_json:
        print_json(asdict(found))
    else:
        say(f"wrote {found.file}, {found.bytes:,} bytes; try it: headrace restore {found.file}")
