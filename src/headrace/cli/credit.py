"""`headrace credit`: an organisation's money."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

import typer

from headrace import config as settings
from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.cli.output import print_json, say
from headrace.clock import SystemClock
from headrace.errors import InvalidRequest
from headrace.metering import Balance, Books, new_entry_id
from headrace.store import SqliteStore

credit_app = typer.Typer(no_args_is_help=True, help="Buy, grant and show credit.")

_FAR_TOO_MUCH = Decimal(10) ** 18  # micro-dollars

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Organisation = Annotated[str, typer.Option("--organisation", metavar="ID")]


@contextmanager
def open_books() -> Generator[Books]:
    """The books of the database in the home folder."""
    clock = SystemClock()
    store = SqliteStore(settings.load().home / "headrace.db", clock)
    try:
        yield Books(store, clock, new_entry_id)
    finally:
        store.close()


@credit_app.command()
def add(
    dollars: Annotated[str, typer.Argument(help="how much, such as 10 or 0.25")],
    organisation: Organisation = DEFAULT_ORGANISATION,
    kind: Annotated[str, typer.Option(help="top_up, grant or correction")] = "top_up",
    reference: Annotated[str, typer.Option(help="of a payment: a second one does nothing")] = "",
    note: Annotated[str, typer.Option(help="for whoever reads the ledger")] = "",
    as_json: Json = False,
) -> None:
    """Add credit; a correction may be negative (`-- -0.25`)."""
    with open_books() as books:
        found = books.add(organisation, _micros(dollars), kind=kind, reference=reference, note=note)
    _show(found, as_json=as_json)


@credit_app.command()
def show(organisation: Organisation = DEFAULT_ORGANISATION, as_json: Json = False) -> None:
    """Show the balance."""
    with open_books() as books:
        found = books.balance(organisation)
    _show(found, as_json=as_json)


def _show(balance: Balance, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(balance))
        return
    leased = balance.leased_micros
    aside = f", {shown_dollars(leased)} of it set aside by servers" if leased else ""
    say(f"{balance.organisation_id}: {shown_dollars(balance.balance_micros)}{aside}")


def shown_dollars(micros: int) -> str:
    """Micro-dollars as dollars, to the last of them."""
    return f"${Decimal(micros).scaleb(-6):,.6f}"


def _micros(dollars: str) -> int:
    try:
        micros = Decimal(dollars).scaleb(6)
        whole = int(micros) if abs(micros) < _FAR_TOO_MUCH else 0
    except (ArithmeticError, ValueError) as exc:
        raise InvalidRequest(f"'{dollars}' is no amount of dollars", param="amount") from exc
    if abs(micros) >= _FAR_TOO_MUCH:
        raise InvalidRequest(f"'{dollars}' is no amount of dollars", param="amount")
    if whole != micros:
        raise InvalidRequest("an amount has six decimals at most", param="amount")
    return whole
