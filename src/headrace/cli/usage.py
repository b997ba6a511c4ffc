"""`headrace usage`: a statement of what an organisation used, and what it cost."""

import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.cli.credit import Json, Organisation, open_books, shown_dollars
from headrace.cli.output import print_json, say
from headrace.errors import InvalidRequest
from headrace.metering import Statement
from headrace.store.ledger import USAGE_FIELDS, UsageRow


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
        begin, end = int(first.timestamp()), int((last + timedelta(days=1)).timestamp())
        wrong = books.check()
        if wrong:
            say(
                f"ledger and records of {len(wrong)} requests do not agree: {wrong[0]}", style="red"
            )
        if form is Format.CSV and not as_json:
            _write_csv(books.lines(organisation, begin, end))
            return
        found = books.statement(organisation, begin, end)
        if as_json:
            rows = books.lines(organisation, begin, end)
            lines = [dict(zip(USAGE_FIELDS, row, strict=True)) for row in rows]
            print_json(_object(found) | {"lines": lines, "disagreements": list(wrong)})
        else:
            Console().print(_table(found))


def _write_csv(lines: Iterable[UsageRow]) -> None:
    """A line a request, under a line of names."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(USAGE_FIELDS)
    writer.writerows(lines)


def _object(statement: Statement) -> dict[str, Any]:
    sums = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "micros")
    return asdict(statement) | {name: getattr(statement, name) for name in sums}


def _table(statement: Statement) -> Table:
    table = Table(title=f"{statement.organisation_id}", title_justify="left")
    for heading in ("model", "requests", "prompt", "cached", "answers", "cost"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in sorted({each.model for each in statement.sums}):
        sums = [each for each in statement.sums if each.model == model]
        table.add_row(
            model,
            f"{sum(each.requests for each in sums):,}",
            f"{sum(each.prompt_tokens for each in sums):,}",
            f"{sum(each.cached_tokens for each in sums):,}",
            f"{sum(each.completion_tokens for each in sums):,}",
            shown_dollars(sum(each.micros for each in sums)),
        )
    table.add_section()
    table.add_row(
        "all",
        f"{statement.requests:,}",
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
