"""Every usage record of a stretch of time, a line each: what a bill can be traced to."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, astuple, fields
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
from headrace.store import UsageRecord

PATH = ROOT + "/usage/records"
FORMS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
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
            if keys is None or line.key_id in keys
        )
        write = _csv if form == "csv" else _jsonl
        headers = {
            **PRIVATE,
            "content-disposition": f'attachment; filename="usage-{start}-{end}.{form}"',
        }
        return StreamingResponse(_pieces(lines, write), media_type=FORMS[form], headers=headers)

    return Route(PATH, export)


async def _pieces(
    lines: Iterator[UsageRecord], write: Callable[[list[UsageRecord], bool], bytes]
) -> AsyncIterator[bytes]:
    is_first = True
    while True:
        group = await asyncio.to_thread(lambda: list(islice(lines, _LINES)))
        if not group and not is_first:
            return
        yield write(group, is_first)
        is_first = False


def _csv(lines: list[UsageRecord], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if is_first:
        writer.writerow(field.name for field in fields(UsageRecord))
    writer.writerows(astuple(line) for line in lines)
    return text.getvalue().encode()


def _jsonl(lines: list[UsageRecord], _: bool) -> bytes:
    return b"".join(msgspec.json.encode(asdict(line)) + b"\n" for line in lines)
