import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.errors import ConfigError, StoreError
from headrace.store import KeyRecord, SqliteStore


def record(number: int, **changes: object) -> KeyRecord:
    values: dict[str, object] = {
        "id": f"key_{number}",
        "name": f"name {number}",
        "tier": "free",
        "prefix": "hr-abcd",
        "last4": "wxyz",
        "digest": number.to_bytes(32, "big"),
        "created_unix": 1_000 + number,
    }
    return KeyRecord(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path):
    made = SqliteStore(tmp_path / "home" / "headrace.db", ManualClock())
    yield made
    made.close()


def test_home_and_files_belong_to_the_owner_alone(store: SqliteStore, tmp_path: Path):
    store.add_key(record(1))
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    files = list(home.iterdir())
    assert len(files) >= 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_key_comes_back_as_it_was_written(store: SqliteStore):
    assert store.add_key(record(1))
    assert store.key_by_digest(record(1).digest) == record(1)
    assert store.key_by_digest(b"\xff" * 32) is None
    assert store.all_keys() == (record(1),)


def test_an_active_name_is_taken_and_a_revoked_one_is_free(store: SqliteStore):
    store.add_key(record(1, name="a"))
    assert not store.add_key(record(2, name="a"))
    assert store.revoke_key("key_1", 5_000)
    assert not store.revoke_key("key_1", 6_000)
    assert store.add_key(record(2, name="a"))


def test_replacing_an_unknown_key_changes_nothing(store: SqliteStore):
    assert not store.replace_key("key_9", record(1))
    assert store.all_keys() == ()


def test_the_schema_refuses_what_the_rules_forbid(store: SqliteStore):
    with pytest.raises(StoreError):
        store.add_key(record(1, tier="gold"))
    with pytest.raises(StoreError):
        store.add_key(record(1, digest=b"short"))
    assert store.all_keys() == ()


def test_many_threads_write_and_read(store: SqliteStore):
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert all(pool.map(lambda n: store.add_key(record(n)), range(1, 41)))
        found = pool.map(lambda n: store.key_by_digest(record(n).digest), range(1, 41))
        assert [key.id for key in found if key] == [f"key_{n}" for n in range(1, 41)]


def test_parallel_inserts_of_one_name_make_one_key(store: SqliteStore):
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = list(pool.map(lambda n: store.add_key(record(n, name="same")), range(1, 21)))
    assert made.count(True) == 1
    assert len(store.all_keys()) == 1


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
        store.all_keys()
    with pytest.raises(StoreError):
        store.touch_key("key_1", 0)
