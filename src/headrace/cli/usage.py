"""`headrace usage`: a statement of what an organisation used, and what it cost."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.cli.credit import Json, Organisation, open_books, shown_dollars
from headrace.cli.output import print_json, say
from headrace.errors import InvalidRequest
from headrace.metering import Statement


class Format(StrEnum):
    """How a statement is written."""

    TABLE = "table"  # sums by model, for people
    CSV = "csv"  # a line a request


def usage(
    organisation: Organisation = DEFAULT_ORGANISATION,
    since: Annotated[str, typer.Option(help="first day, UTC; default: of this month")] = "",
    until: Annotated[str, typer.Option(help="last day, UTC; default: today")] = "",
    form: Annotated[Format, typer.Option("--format", help="table or csv")] = Format.TABLE,
    as_json: Json = False,
) -> None:
    """Account for tokens and money: every request once, and the sum of all."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = _day(since) if since else today.replace(day=1)
    last = _day(until) if until else today
    with open_books() as books:
        found = books.statement(
            organisation, first.timestamp(), (last + timedelta(days=1)).timestamp()
        )
        wrong = books.check()
    if wrong:
        say(f"ledger and records of {len(wrong)} requests do not agree: {wrong[0]}", style="red")
    if as_json:
        print_json(asdict(found) | {"disagreements": list(wrong)})
    elif form is Format.CSV:
        sys.stdout.write(found.as_csv())
    else:
        Console().print(_table(found))


def _table(statement: Statement) -> Table:
    table = Table(title=f"{statement.organisation_id}", title_justify="left")
    for heading in ("model", "requests", "prompt", "cached", "answers", "cost"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in sorted({line.model for line in statement.lines}):
        lines = [line for line in statement.lines if line.model == model]
        table.add_row(
            model,
            f"{len(lines):,}",
            f"{sum(line.prompt_tokens for line in lines):,}",
            f"{sum(line.cached_tokens for line in lines):,}",
            f"{sum(line.completion_tokens for line in lines):,}",
            shown_dollars(sum(line.micros for line in lines)),
        )
    table.add_section()
    table.add_row(
        "all",
        f"{len(statement.lines):,}",
        f"{statement.prompt_tokens:,}",
        f"{statement.cached_tokens:,}",
        f"{statement.completion_tokens:,}",
        shown_dollars(statement.micros),
    )
    return table


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as exc:
        raise InvalidRequest(f"'{text}' is no day such as 2026-11-26", param="day") from exc
