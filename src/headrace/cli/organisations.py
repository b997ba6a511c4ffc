"""`headrace organisations`: list them, and change their tiers."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import config as settings
from headrace.accounts import AccountService, Tier
from headrace.cli.output import print_json, say

organisations_app = typer.Typer(no_args_is_help=True, help="List organisations, set their tiers.")

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]


@organisations_app.command("list")
def list_(as_json: Json = False) -> None:
    """Show all organisations."""
    with AccountService.open(settings.load()) as accounts:
        organisations = accounts.organisations.all()
    if as_json:
        print_json({"organisations": [asdict(each) for each in organisations]})
        return
    table = Table(box=None)
    for title in ("name", "tier", "id"):
        table.add_column(title, no_wrap=True)
    for each in organisations:
        table.add_row(*(Text(cell) for cell in (each.name, each.tier, each.id)))
    Console(soft_wrap=True).print(table)


@organisations_app.command("set-tier")
def set_tier(
    organisation_id: Annotated[str, typer.Argument(metavar="ID")],
    tier: Annotated[Tier, typer.Argument(help="the bundle of limits")],
    as_json: Json = False,
) -> None:
    """Change an organisation's tier; keys made with --tier keep theirs."""
    with AccountService.open(settings.load()) as accounts:
        organisation = accounts.organisations.set_tier(organisation_id, tier)
    if as_json:
        print_json(asdict(organisation))
    else:
        say(f"organisation '{organisation.name}' is of the {organisation.tier} tier")
