"""`headrace users`: make administrators and other users, list them, give them a new password."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import config as settings
from headrace.accounts import OPERATOR, AccountService, Role, check_password, hash_password
from headrace.cli.output import print_json, say

users_app = typer.Typer(no_args_is_help=True, help="Make and list users of the console.")

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Email = Annotated[str, typer.Argument(metavar="EMAIL")]


@users_app.command()
def create(
    email: Email,
    admin: Annotated[bool, typer.Option("--admin", help="owner of the first organisation")] = False,
    role: Annotated[Role, typer.Option(help="what else the user is")] = Role.MEMBER,
    name: Annotated[str | None, typer.Option(help="to show; default: the address")] = None,
    as_json: Json = False,
) -> None:
    """Make a user. The password is asked for, or read as a line from standard input."""
    with AccountService.open(settings.load()) as accounts:
        user = accounts.users.create(
            OPERATOR,
            email=email,
            name=name or email[:64],
            role=Role.OWNER if admin else role,
            password_hash=hash_password(_new_password()),
        )
    if as_json:
        print_json(asdict(user))
    else:
        say(f"user {user.email} is {user.role} of '{user.organisation_id}'")


@users_app.command("list")
def list_(as_json: Json = False) -> None:
    """Show all users of all organisations."""
    with AccountService.open(settings.load()) as accounts:
        users = accounts.users.everybody()
    if as_json:
        print_json({"users": [asdict(user) for user in users]})
        return
    if not users:
        say("no users yet: headrace users create EMAIL --admin")
        return
    table = Table(box=None)
    for title in ("e-mail", "name", "role", "organisation", "id"):
        table.add_column(title, no_wrap=True)
    for user in users:
        cells = (user.email, user.name, user.role, user.organisation_id, user.id)
        table.add_row(*(Text(cell) for cell in cells))
    Console(soft_wrap=True).print(table)


@users_app.command()
def password(email: Email, as_json: Json = False) -> None:
    """Give a user another password, read as above; all sessions of his end."""
    with AccountService.open(settings.load()) as accounts:
        user = accounts.users.reset_password(email, hash_password(_new_password()))
    if as_json:
        print_json(asdict(user))
    else:
        say(f"user {user.email} has a new password")


def _new_password() -> str:
    """Never an argument: those stand in the list of processes."""
    if not sys.stdin.isatty():
        return check_password(sys.stdin.readline().rstrip("\r\n"))
    return check_password(typer.prompt("password", hide_input=True, confirmation_prompt=True))
