"""`headrace restore`: what `headrace backup` wrote, into a home folder without state."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace import config as settings
from headrace.backup import restore as put_back
from headrace.cli.output import print_json, say
from headrace.clock import SystemClock


def restore(
    file: Annotated[Path, typer.Argument(help="that `headrace backup` wrote")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Put a backup into an empty HEADRACE_HOME, after checking all of it."""
    found = put_back(file, settings.load().home, SystemClock())
    if as_json:
        print_json(asdict(found))
        return
    taken = datetime.fromtimestamp(found.taken_unix, UTC)
    say(
        f"{found.home} is as it was on {taken:%Y-%m-%d at %H:%M:%S} UTC: "
        f"{found.usage_records:,} usage records, {found.ledger_entries:,} ledger entries, which "
        f"agree; {found.recovered:,} requests ran then and are written down as far as they came"
    )
