"""The books after `kill -9`: whatever clients were told, the records say the same, once.

The engine does no arithmetic and keeps a pace at which clients read what they are sent, so that
what they were told can be compared to the token: the books are tried, not the kernels.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.clock import SystemClock
from headrace.metering import Books, new_entry_id
from headrace.prove.crowd import Crowd, Told
from headrace.prove.point import Point, first_of
from headrace.prove.server import Process, Server, engine_of
from headrace.store import SqliteStore, UsageRecord, ledger

LIVES = 2  # of a server, each ended by a kill after its engine was
CLIENTS = 8
DOLLARS = 1_000
PAID_MICROS = DOLLARS * 1_000_000
STEPS_PER_S = 400  # slow enough that the clients keep up: what was handed over was read
ONE_FLUSH = 64  # events of one write (api/sse.py)
MODEL = "proven"  # as it is served
SETTINGS = f"""
[engine]
backend = "null"
null_steps_per_s = {STEPS_PER_S}

[tiers.developer]
billing = "credit"
requests_per_minute = 0
tokens_per_minute = 0

[[prices]]
model = "{MODEL}"
input_micros = 100_000
output_micros = 600_000
"""


def paid_server(folder: Path, model: Path) -> Server:
    """A server whose every token costs something."""
    path = json.dumps(str(model.absolute()))
    settings = f"{SETTINGS}\n[models.{MODEL}]\npath = {path}\n"
    return Server(folder, settings, model=None, credit=DOLLARS)


def killed(server: Server, rng: random.Random) -> list[Told]:
    """What clients were told by a server whose engine is killed now and then, then itself."""

    async def live(process: Process, url: str) -> list[Told]:
        crowd = Crowd(url, server.key, rng, clients=CLIENTS, model=MODEL)
        async with crowd.asking():
            await crowd.events(rng.randint(1, 1_500))
            os.kill(engine_of(process), signal.SIGKILL)
            await crowd.events(rng.randint(CLIENTS, 1_500))
            process.kill()
            process.wait()
            # What is on its way still comes.
            await asyncio.gather(
                *(t for t in asyncio.all_tasks() if t is not asyncio.current_task()),
                return_exceptions=True,
            )
        return crowd.told

    with server.serving() as (process, url):
        return asyncio.run(live(process, url))


def recover(server: Server) -> None:
    """One more life, which writes down what the last one left behind, and ends well."""
    with server.serving():
        pass


def faults(told: Sequence[Told], home: Path) -> list[str]:
    """Where the books of `home` and what clients were told differ."""
    with closing(SqliteStore(home / "headrace.db", SystemClock())) as store:
        books = Books(store, SystemClock(), new_entry_id)
        found = [f"record and ledger entry of {id_} do not agree" for id_ in books.check()]
        found += [f"the statement of {each} does not close" for each in books.unbalanced()]
        with store.reading() as tx:
            records = ledger.usage_of(tx, DEFAULT_ORGANISATION, 0, 1e12)
            balance = ledger.balance(tx, DEFAULT_ORGANISATION)
            if ledger.held(tx, DEFAULT_ORGANISATION):
                found.append("credit is set aside for servers that are dead")
    if balance != PAID_MICROS - sum(record.micros for record in records):
        found.append("the balance is not what was paid less what was used")
    return [*found, *_differences(told, records)]


def _differences(told: Sequence[Told], records: Sequence[UsageRecord]) -> Iterator[str]:
    by_id = {record.request_id: record for record in records}
    if len(by_id) != len(records):
        yield "a request has two records"
    for each in told:
        if each.id and each.id not in by_id:
            yield f"{each.id} has no record"
        elif each.id and not _agree(each, by_id[each.id]):
            yield f"the record of {each.id} is not what its client was told"
    # Who was never told an id got nothing, or a first word that was lost with the server.
    unseen = set(by_id) - {each.id for each in told}
    if len(unseen) > sum(not each.id for each in told):
        yield "there are records of requests that nobody made"


def _agree(told: Told, record: UsageRecord) -> bool:
    usage = record.prompt_tokens, record.completion_tokens
    said = told.usage.get("prompt_tokens"), told.usage.get("completion_tokens")
    if told.usage and usage != said:
        return False
    if told.usage and told.is_whole:
        return record.status == "completed" and record.completion_tokens == told.tokens
    is_told_of = record.status == "interrupted" or not told.usage
    return is_told_of and 0 <= record.completion_tokens - told.tokens <= ONE_FLUSH


def prove_books(model: Path, folder: Path, again: str, *, seed: int) -> Point:
    """Kill a server's engine and the server itself, LIVES times, and compare."""
    rng = random.Random(seed)  # noqa: S311 (moments and lengths, no secrets)
    server = paid_server(folder, model)
    told = [each for _ in range(LIVES) for each in killed(server, rng)]
    recover(server)
    found = faults(told, server.home)
    whole = sum(each.is_whole for each in told)
    broken = sum(bool(each.id) and not each.is_whole for each in told)
    if not whole or not broken:
        found.append("too little was tried: no answer ended, or none broke off")
    return Point(
        name="books",
        claim="After kill -9 of the engine and of the server every request is written down once, "
        "with the tokens its client saw, and the ledger adds up.",
        faults=first_of(found),
        facts=(
            ("kill -9, under eight streams", f"{2 * LIVES} times"),
            ("answers that ended before", f"{whole:,}"),
            ("answers that broke off", f"{broken:,}"),
            ("tokens clients saw", f"{sum(each.tokens for each in told):,}"),
            ("seed", str(seed)),
        ),
        command=f"{again} --only books --seed {seed}",
    )
