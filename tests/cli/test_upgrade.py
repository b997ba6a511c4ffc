"""Home folders that earlier versions left, opened by this one (tests/homes, of make_old_home)."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Role
from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.backup import restore, take
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.errors import ConfigError, Unauthenticated
from headrace.metering import Books, new_entry_id
from headrace.store import SqliteStore, ledger
from headrace.store.migrations import MIGRATIONS

HOMES = Path(__file__).parents[1] / "homes"
EACH = sorted(HOMES.iterdir(), key=lambda path: int(path.name.partition("-")[0]))


def laid_out(stored: Path, home: Path) -> dict[str, Any]:
    """Make the home folder again; what its version said of it."""
    made: dict[str, Any] = json.loads((stored / "made.json").read_text())
    home.mkdir()
    (home / "key-pepper").write_bytes(bytes.fromhex(made["pepper"]))
    with closing(sqlite3.connect(home / "headrace.db", isolation_level=None)) as database:
        database.executescript((stored / "database.sql").read_text())
        (version,) = database.execute("SELECT max(number) FROM schema_versions").fetchone()
    assert version == int(stored.name.partition("-")[0])
    return made


def check(home: Path, made: dict[str, Any]) -> None:
    """Whatever opened it and was written in it, opens it and is written in it."""
    with AccountService.open(Config(home=home)) as accounts:
        assert accounts.authenticate(made["kept"]).organisation_id == DEFAULT_ORGANISATION
        assert accounts.authenticate(made["kept"]).tier == "developer"
        with pytest.raises(Unauthenticated):
            accounts.authenticate(made["revoked"])
        assert sorted(key.name for key in accounts.list()) == ["kept", "revoked"]
        users = accounts.users.everybody()
        assert [(user.email, user.role) for user in users] == (
            [(made["email"], Role.OWNER)] if "email" in made else []
        )
    with closing(SqliteStore(home / "headrace.db", SystemClock())) as store:
        books = Books(store, SystemClock(), new_entry_id)
        assert books.balance(DEFAULT_ORGANISATION).balance_micros == made.get("balance_micros", 0)
        assert not books.check()
        assert not books.unbalanced()
        with store.reading() as tx:
            records = ledger.usage_of(tx, DEFAULT_ORGANISATION, 0, 1e12)
            assert [r.request_id for r in records] == (
                [made["request"]] if "request" in made else []
            )


def test_there_is_a_home_of_the_version_before_this_one() -> None:
    """Who adds a step runs tools/make_old_home.py first."""
    last = len(MIGRATIONS) - 1
    assert f"{last}-{MIGRATIONS[last - 1][0]}" in {stored.name for stored in EACH}


@pytest.mark.parametrize("stored", EACH, ids=lambda path: path.name)
def test_an_old_home_opens_and_has_lost_nothing(stored: Path, tmp_path: Path) -> None:
    made = laid_out(stored, tmp_path / "home")
    check(tmp_path / "home", made)
    check(tmp_path / "home", made)


@pytest.mark.parametrize("stored", EACH, ids=lambda path: path.name)
def test_a_backup_of_an_old_home_is_of_its_version_and_restores_to_ours(
    stored: Path, tmp_path: Path
) -> None:
    home, archive = tmp_path / "home", tmp_path / "b.tar"
    made = laid_out(stored, home)
    before = shutil.copytree(home, tmp_path / "before")
    taken = take(home, archive, SystemClock())
    assert taken.schema_version == int(stored.name.partition("-")[0])
    assert dump(home) == dump(before), "nothing was upgraded by taking a backup"
    restore(archive, tmp_path / "new", SystemClock())
    check(tmp_path / "new", made)


def dump(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "headrace.db")) as database:
        return list(database.iterdump())


@pytest.mark.parametrize("stored", EACH, ids=lambda path: path.name)
def test_an_upgrade_that_fails_leaves_the_old_version(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = laid_out(stored, tmp_path / "home")
    broken = ("broken", ("CREATE TABLE half (id INTEGER)", "SELECT * FROM nowhere"))
    before = dump(tmp_path / "home")
    with monkeypatch.context() as patch:
        patch.setattr("headrace.store.migrations.MIGRATIONS", (*MIGRATIONS, broken))
        with pytest.raises(ConfigError, match="cannot be opened"):
            SqliteStore(tmp_path / "home" / "headrace.db", SystemClock())
    assert dump(tmp_path / "home") == before
    check(tmp_path / "home", made)
