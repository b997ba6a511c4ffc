import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.errors import ConfigError, StoreError
from headrace.store import KeyRecord, SqliteStore, api_keys


def record(number: int, **changes: object) -> KeyRecord:
    values: dict[str, object] = {
        "id": f"key_{number}",
        "organisation_id": "org_default",
        "project_id": "proj_default",
        "name": f"name {number}",
        "tier": "free",
        "prefix": "hr-abcd",
        "last4": "wxyz",
        "digest": number.to_bytes(32, "big"),
        "created_unix": 1_000 + number,
        "organisation_tier": "enterprise",
    }
    return KeyRecord(**(values | changes))  # type: ignore[arg-type]


def add(store: SqliteStore, key: KeyRecord) -> bool:
    with store.changing() as tx:
        return api_keys.add(tx, key)


def found(store: SqliteStore, digest: bytes) -> KeyRecord | None:
    with store.reading() as tx:
        return api_keys.by_digest(tx, digest)


def everything(store: SqliteStore) -> tuple[KeyRecord, ...]:
    with store.reading() as tx:
        return api_keys.everything(tx)


@pytest.fixture
def store(tmp_path: Path):
    made = SqliteStore(tmp_path / "home" / "headrace.db", ManualClock())
    yield made
    made.close()


def test_home_and_files_belong_to_the_owner_alone(store: SqliteStore, tmp_path: Path):
    add(store, record(1))
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    files = list(home.iterdir())
    assert len(files) >= 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_key_comes_back_as_it_was_written(store: SqliteStore):
    assert add(store, record(1))
    assert found(store, record(1).digest) == record(1)
    assert found(store, b"\xff" * 32) is None
    assert everything(store) == (record(1),)


def test_an_active_name_is_taken_and_a_revoked_one_is_free(store: SqliteStore):
    add(store, record(1, name="a"))
    assert not add(store, record(2, name="a"))
    with store.changing() as tx:
        assert api_keys.revoke(tx, "key_1", 5_000)
        assert not api_keys.revoke(tx, "key_1", 6_000)
    assert add(store, record(2, name="a"))


def test_a_change_that_fails_leaves_nothing(store: SqliteStore):
    with pytest.raises(KeyError), store.changing() as tx:
        assert api_keys.add(tx, record(1))
        raise KeyError
    assert everything(store) == ()


def test_the_schema_refuses_what_the_rules_forbid(store: SqliteStore):
    with pytest.raises(StoreError):
        add(store, record(1, tier="gold"))
    with pytest.raises(StoreError):
        add(store, record(1, digest=b"short"))
    assert everything(store) == ()


def test_many_threads_write_and_read(store: SqliteStore):
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert all(pool.map(lambda n: add(store, record(n)), range(1, 41)))
        seen = pool.map(lambda n: found(store, record(n).digest), range(1, 41))
        assert [key.id for key in seen if key] == [f"key_{n}" for n in range(1, 41)]


def test_parallel_inserts_of_one_name_make_one_key(store: SqliteStore):
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = list(pool.map(lambda n: add(store, record(n, name="same")), range(1, 21)))
    assert made.count(True) == 1
    assert len(everything(store)) == 1


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "headrace.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match=r"headrace\.db cannot be opened"):
        SqliteStore(path, ManualClock())


def test_a_closed_or_broken_database_is_a_store_error(store: SqliteStore, tmp_path: Path):
    raw = sqlite3.connect(tmp_path / "home" / "headrace.db", isolation_level=None)
    raw.execute("DROP TABLE api_keys")
    raw.close()
    with pytest.raises(StoreError):
        everything(store)
    with pytest.raises(StoreError):
        add(store, record(1))


def test_a_second_store_of_a_process_leaves_the_first_its_locks(tmp_path: Path):
    """A process that comes and goes must not take the log away from one that stays."""
    path = tmp_path / "home" / "headrace.db"
    first = SqliteStore(path, ManualClock())
    second = SqliteStore(path, ManualClock())
    add(first, record(1))
    visitor = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        " c.execute('UPDATE api_keys SET revoked_unix = 5'); c.commit(); c.close()"
    )
    subprocess.run([sys.executable, "-c", visitor, str(path)], check=True)
    assert everything(first)[0].revoked_unix == 5
    add(second, record(2))
    assert len(everything(first)) == 2
    first.close()
    second.close()


def test_a_commit_that_fails_leaves_no_transaction_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Failing(sqlite3.Connection):
        fails = False

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and Failing.fails:
                Failing.fails = False
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *args)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Failing, **k))
    store = SqliteStore(tmp_path / "headrace.db", ManualClock())
    Failing.fails = True
    with pytest.raises(StoreError):
        add(store, record(1))
    assert add(store, record(2))
    assert [key.id for key in everything(store)] == ["key_2"]
    store.close()
