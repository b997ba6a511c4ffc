"""`headrace backup` beside a server that streams to many, and `headrace restore` elsewhere."""

import asyncio
import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.cli.main import run
from headrace.clock import SystemClock
from headrace.model import bundled_model
from headrace.prove.crowd import Crowd, Told
from headrace.prove.kills import CLIENTS, MODEL, PAID_MICROS, faults, paid_server
from headrace.prove.server import Server
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger, usage_sums


class Restored:
    """A backup, in a home of its own."""

    def __init__(self, server: Server, archive: Path) -> None:
        self.home = archive.with_suffix("")
        said = server.run("restore", str(archive), "--json", home=self.home)
        self.said: dict[str, Any] = json.loads(said)


def opened(home: Path) -> SqliteStore:
    return SqliteStore(home / "headrace.db", SystemClock())


def records_of(home: Path) -> dict[str, UsageRecord]:
    """All usage records, by request, of books that agree with themselves."""
    with closing(opened(home)) as store, store.reading() as tx:
        records = ledger.usage_of(tx, DEFAULT_ORGANISATION, 0, 1e12)
        spent = sum(record.micros for record in records)
        assert ledger.balance(tx, DEFAULT_ORGANISATION) == PAID_MICROS - spent
        assert not ledger.disagreements(tx)
    return {record.request_id: record for record in records}


def paid_into(home: Path) -> list[LedgerRecord]:
    with closing(opened(home)) as store, store.reading() as tx:
        return list(usage_sums.paid_entries(tx, DEFAULT_ORGANISATION, after=None, limit=9) or ())


def test_a_backup_under_load_comes_back_as_the_same_ledger(tmp_path: Path) -> None:
    """Taken three times while eight clients are served, and once more when all is over."""
    server = paid_server(tmp_path, bundled_model())
    rng = random.Random(11)
    archives = [tmp_path / f"{number}.tar" for number in range(3)]
    known: list[set[str]] = []  # whose end clients had seen when a backup began

    async def backed_up(url: str) -> list[Told]:
        crowd = Crowd(url, server.key, rng, clients=CLIENTS, model=MODEL)
        async with crowd.asking():
            for archive in archives:
                await crowd.events(1_500)
                known.append({told.id for told in crowd.told if told.usage and told.is_whole})
                await asyncio.to_thread(server.run, "backup", str(archive))
        return crowd.told

    with server.serving() as (process, url):
        told = asyncio.run(backed_up(url))
        process.terminate()
        process.wait()
    assert faults(told, server.home) == []
    server.run("backup", str(tmp_path / "last.tar"))

    live = records_of(server.home)
    for archive, ended in zip(archives, known, strict=True):
        restored = Restored(server, archive)
        found = records_of(restored.home)
        assert ended <= set(found), "what a client had seen end is in the backup"
        assert len(found) == restored.said["usage_records"]
        behind = {id_ for id_ in found if found[id_] != live[id_]}
        assert len(behind) <= restored.said["recovered"] <= 2 * CLIENTS, "some had just ended"
        for id_ in behind:
            then, later = found[id_], live[id_]
            if then.status == "completed":  # it had, and its record came with its slot
                later = replace(later, ended_unix=then.ended_unix)
                assert then == later
            assert then.completion_tokens <= later.completion_tokens
        assert paid_into(restored.home) == paid_into(server.home)

    whole = Restored(server, tmp_path / "last.tar")
    assert whole.said["recovered"] == 0
    assert records_of(whole.home) == live


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "none"))
    assert run(["backup", str(tmp_path / "b.tar")]) == 2
    assert run(["restore", str(tmp_path / "b.tar")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "nothing to back up" in said[0]
    assert "b.tar cannot be read" in said[1]
    assert not list(tmp_path.glob("*.tar"))
