"""Every usage record of a stretch of time, a line each: what a bill can be traced to."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from headrace.accounts import AccountService
from headrace.api.answers import PRIVATE
from headrace.api.managers import Managers
from headrace.api.organisation import ROOT
from headrace.api.usage_query import read_stretch
from headrace.clock import Clock
from headrace.errors import InvalidRequest
from headrace.metering import Books
from headrace.store.ledger import USAGE_FIELDS, UsageRow

PATH = ROOT + "/usage/records"
FORMS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
_KEY = USAGE_FIELDS.index("key_id")
_LINES = 1_000  # of one piece: a look at the database, a write to the socket


def usage_export(
    accounts: AccountService, managers: Managers, books: Books, clock: Clock
) -> BaseRoute:
    """GET PATH?start_time=&end_time=&format=: the records, streamed, in the order they ended in.

    A member gets those of his own keys.
    """

    async def export(request: Request) -> Response:
        actor = managers.actor(request)
        keys = await asyncio.to_thread(accounts.keys.whose_use_is_seen_by, actor)
        start, end = read_stretch(request.query_params, clock.unix_s())
        form = request.query_params.get("format", "csv")
        if form not in FORMS:
            raise InvalidRequest(f"format: one of {', '.join(FORMS)}", param="format")
        lines = (
            line
            for line in books.lines(actor.organisation_id, start, end)
            if keys is None or line[_KEY] in keys
        )
        write = _csv if form == "csv" else _jsonl
        headers = {
            **PRIVATE,
            "content-disposition": f'attachment; filename="usage-{start}-{end}.{form}"',
        }
        return StreamingResponse(_pieces(lines, write), media_type=FORMS[form], headers=headers)

    return Route(PATH, export)


async def _pieces(
    lines: Iterator[UsageRow], write: Callable[[list[UsageRow], bool], bytes]
) -> AsyncIterator[bytes]:
    is_first = True
    while True:
        group = await asyncio.to_thread(lambda: list(islice(lines, _LINES)))
        if not group and not is_first:
            return
        yield write(group, is_first)
        is_first = False


def _csv(lines: list[UsageRow], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if is_first:
        writer.writerow(USAGE_FIELDS)
    writer.writerows(lines)
    return text.getvalue().encode()


def _jsonl(lines: list[UsageRow], _: bool) -> bytes:
    records = (dict(zip(USAGE_FIELDS, line, strict=True)) for line in lines)
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)
