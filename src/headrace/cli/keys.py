"""`headrace keys`: make, list, rotate and revoke API keys."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import config as settings
from headrace.accounts import OPERATOR, AccountService, ApiKey, KeyDraft, NewKey, Role, Tier
from headrace.cli.output import print_json, say
from headrace.errors import InvalidRequest

keys_app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys.")

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Which = Annotated[str, typer.Argument(metavar="ID_OR_NAME")]


@keys_app.command()
def create(
    name: Annotated[str, typer.Option(help="what it is for; unique")],
    tier: Annotated[Tier | None, typer.Option(help="the bundle of limits")] = None,
    role: Annotated[
        Role | None, typer.Option(help="in place of a tier: a key that manages, and completes not")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once."""
    with _service() as service:
        if role is not None and tier is None:
            draft = KeyDraft(name=name, role=role)
            new = service.keys.create_for_management(OPERATOR, draft)
        elif tier is not None and role is None:
            new = service.create(name=name, tier=tier)
        else:
            raise InvalidRequest("a key has a --tier, or a --role: one of them", param="tier")
        _print_new(new, as_json)


@keys_app.command("list")
def list_(as_json: Json = False) -> None:
    """Show all keys: names and last characters, never the keys."""
    with _service() as service:
        keys = service.list()
    if as_json:
        print_json({"keys": [asdict(key) for key in keys]})
        return
    if not keys:
        say("no keys yet: headrace keys create --tier free --name NAME")
        return
    table = Table(box=None)
    for title in ("name", "tier", "key", "id", "last used (UTC)", "state"):
        table.add_column(title, no_wrap=True)
    for key in keys:
        table.add_row(*(Text(cell) for cell in _row(key)))
    Console(soft_wrap=True).print(table)


@keys_app.command()
def rotate(
    key: Which,
    overlap: Annotated[int, typer.Option(help="seconds that the old one goes on")] = 0,
    as_json: Json = False,
) -> None:
    """Replace a key by a new one of the same name and tier; the old one ends at once."""
    with _service() as service:
        _print_new(service.rotate(key, overlap_s=overlap), as_json)


@keys_app.command()
def revoke(key: Which, as_json: Json = False) -> None:
    """End a key at once, on every running server."""
    with _service() as service:
        revoked = service.revoke(key)
    if as_json:
        print_json(asdict(revoked))
    else:
        say(f"revoked '{revoked.name}' ({revoked.prefix}…{revoked.last4})")


def _service() -> AccountService:
    return AccountService.open(settings.load())


def _print_new(new: NewKey, as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = {"key": new.secret, **asdict(new.key)}
        print_json(shown)
        return
    print(new.secret)
    kind = new.key.role or new.key.tier
    say(f"key '{new.key.name}' ({kind}) is shown this once: keep it now", style="dim")


def _row(key: ApiKey) -> tuple[str, ...]:
    return (
        key.name,
        key.tier,
        f"{key.prefix}…{key.last4}",
        key.id,
        _date(key.last_used_unix),
        _state(key),
    )


def _state(key: ApiKey) -> str:
    if not key.is_active:
        return "revoked"
    return "active" if key.expires_unix is None else f"ends {_date(key.expires_unix)}"


def _date(unix: int | None) -> str:
    return "never" if unix is None else f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M}"
