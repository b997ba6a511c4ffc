"""Putting a backup back, into a home folder without state."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.backup.archive import DATABASE, PEPPER, SLOTS, read_archive, sync_folder
from headrace.clock import Clock
from headrace.errors import ConfigError
from headrace.metering import Books, Slots, is_in_use, new_entry_id, recover
from headrace.store import SqliteStore, copies, ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back."""

    home: str
    taken_unix: int
    schema_version: int  # of the backup; a home folder is always of ours
    ledger_entries: int
    usage_records: int
    recovered: int  # of them, requests that ran when the backup was taken


def restore(path: Path, home: Path, clock: Clock) -> Restored:
    """Put the backup `path` into `home`, brought to our schema and settled.

    What ran when it was taken is written down as interrupted, with what was delivered by then, and
    leases of credit are closed: their servers are elsewhere, or nowhere. Nothing is put in place
    before every check has passed: bytes, pages, references, each usage record against its ledger
    entry, each organisation's statement against its ledger.

    Raises ConfigError when `home` has state or a server, or the backup does not pass.
    """
    _check_empty(home)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as made:
            folder = Path(made)
            manifest = read_archive(path, folder)
            if not (folder / DATABASE).exists():
                raise ConfigError(f"backup {path} is damaged: '{DATABASE}' is missing")
            broken = copies.faults(folder / DATABASE)
            if broken:
                raise ConfigError(f"backup {path} is damaged: {broken[0]}")
            recovered, entries, records = _settle(folder, path, clock)
            _put_in_place(folder, home)
    except OSError as exc:
        raise ConfigError(f"{home} cannot be restored: {exc}") from exc
    return Restored(
        home=str(home),
        taken_unix=manifest.taken_unix,
        schema_version=manifest.schema_version,
        ledger_entries=entries,
        usage_records=records,
        recovered=recovered,
    )


def _check_empty(home: Path) -> None:
    if any(is_in_use(file) for file in (home / SLOTS).glob("slots-*")):
        raise ConfigError(
            f"a server runs on {home}: restore into another HEADRACE_HOME, or stop it and move "
            "the folder away"
        )
    for name in (DATABASE, PEPPER, SLOTS):
        if (home / name).exists():
            raise ConfigError(
                f"{home} has a '{name}' already: restore into another HEADRACE_HOME, or move the "
                "folder away"
            )


def _settle(folder: Path, path: Path, clock: Clock) -> tuple[int, int, int]:
    """Recover and check the state in `folder`; recovered requests, ledger entries, records."""
    store = SqliteStore(folder / DATABASE, clock)
    try:
        recovered = 0
        for file in sorted((folder / SLOTS).glob("slots-*")):
            with Slots(file, 1) as slots:
                recovered += recover(store, slots, clock)
        with store.changing() as tx:
            ledger.close_leases(tx)
        books = Books(store, clock, new_entry_id)
        wrong = (*books.check(), *books.unbalanced())
        if wrong:
            raise ConfigError(
                f"backup {path} is damaged: ledger and usage records do not agree: {wrong[0]}"
            )
        with store.reading() as tx:
            return recovered, ledger.count(tx), ledger.count_usage(tx)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"backup {path} is damaged: a request that ran: {exc}") from exc
    finally:
        store.close()


def _put_in_place(folder: Path, home: Path) -> None:
    """The pepper, then the database. A server that was started meanwhile keeps what it made."""
    for name in (PEPPER, DATABASE):
        if (folder / name).exists():
            os.link(folder / name, home / name)
    sync_folder(home)
