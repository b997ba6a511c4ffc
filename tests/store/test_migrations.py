import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.errors import ConfigError
from headrace.store import KeyRecord, SqliteStore, api_keys, migrations
from headrace.store.migrations import MIGRATIONS, migrate


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        yield made


def schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def versions(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    return list(connection.execute("SELECT number, name FROM schema_versions ORDER BY number"))


def test_every_step_has_its_own_name():
    names = [name for name, _ in MIGRATIONS]
    assert len(set(names)) == len(names)


def test_an_empty_file_gets_every_step_once(connection: sqlite3.Connection):
    migrate(connection, now_unix=1)
    migrate(connection, now_unix=2)
    assert versions(connection) == [(n, name) for n, (name, _) in enumerate(MIGRATIONS, start=1)]


@pytest.mark.parametrize("old", range(len(MIGRATIONS)))
def test_each_old_version_arrives_at_the_same_schema(
    connection: sqlite3.Connection, old: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", MIGRATIONS[:old])
        migrate(connection, now_unix=1)
    migrate(connection, now_unix=2)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh, now_unix=1)
        assert schema(connection) == schema(fresh)
        assert versions(connection) == versions(fresh)


def test_keys_of_before_organisations_go_on(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", MIGRATIONS[:1])
        migrate(connection, now_unix=1)
    connection.execute(
        "INSERT INTO api_keys VALUES ('key_1', 'a', 'developer', 'hr-abcd', 'wxyz',"
        " zeroblob(32), 7, NULL, 9), ('key_2', 'a', 'free', 'hr-abcd', 'wxyz', randomblob(32),"
        " 5, 6, NULL)"
    )
    migrate(connection, now_unix=2)
    first = api_keys.by_digest(connection, bytes(32))
    assert first == KeyRecord(
        id="key_1",
        organisation_id="org_default",
        project_id="proj_default",
        name="a",
        tier="developer",
        prefix="hr-abcd",
        last4="wxyz",
        digest=bytes(32),
        created_unix=7,
        last_used_unix=9,
        organisation_tier="enterprise",
    )
    assert [key.revoked_unix for key in api_keys.everything(connection)] == [6, None]


def test_a_failing_step_leaves_the_file_as_it_was(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    migrate(connection, now_unix=1)
    before = schema(connection), versions(connection)
    broken = ("broken", ("CREATE TABLE half (id INTEGER)", "SELECT * FROM nowhere"))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, now_unix=2)
    assert (schema(connection), versions(connection)) == before


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path):
    path = tmp_path / "headrace.db"
    SqliteStore(path, ManualClock()).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("INSERT INTO schema_versions VALUES (99, 'later', 0)")
    with pytest.raises(ConfigError, match="version 99"):
        SqliteStore(path, ManualClock())
