"""A key that is remembered counts as its row does: until anybody changes anything."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Tier
from headrace.accounts.known_keys import KnownKeys
from headrace.accounts.registry import Registry
from headrace.clock import ManualClock
from headrace.errors import Unauthenticated
from headrace.store import SqliteStore
from headrace.store.changes import Changes
from tests.accounts.office import office

PEPPER = b"p" * 32
REVOKE = """
import sys
from pathlib import Path
from headrace.clock import ManualClock
from tests.accounts.office import office
with office(Path(sys.argv[1]), ManualClock()) as service:
    service.revoke("k")
"""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of all look-ups of a key."""
    seen: list[int] = []
    connect = sqlite3.connect

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if "WHERE digest" in sql:
                seen.append(threading.get_ident())
            return super().execute(sql, *args)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
    return seen


def test_a_known_key_costs_no_read(tmp_path: Path, reads: list[int]):
    with office(tmp_path, ManualClock()) as server:
        secret = server.create(name="k", tier=Tier.FREE).secret
        accounts = {server.authenticate(secret) for _ in range(100)}
        assert len(accounts) == 1
        assert len(reads) == 1


@pytest.mark.guards("D22")
def test_a_change_of_another_process_is_seen_by_the_next_request(tmp_path: Path):
    with office(tmp_path, ManualClock()) as server:
        secret = server.create(name="k", tier=Tier.FREE).secret
        server.authenticate(secret)
        subprocess.run([sys.executable, "-c", REVOKE, str(tmp_path)], check=True)
        with pytest.raises(Unauthenticated):
            server.authenticate(secret)


@pytest.mark.guards("D22")
@pytest.mark.parametrize("ends", ["revoked_unix = 1", "expires_unix = 1"])
def test_a_change_nobody_announced_is_seen_within_a_second(tmp_path: Path, ends: str):
    """Whoever made it was killed right after it, or went by no code of ours."""
    clock = ManualClock()
    with office(tmp_path, clock) as server:
        secret = server.create(name="k", tier=Tier.FREE).secret
        server.authenticate(secret)
        with sqlite3.connect(tmp_path / "headrace.db") as other:
            other.execute(f"UPDATE api_keys SET {ends}")
        other.close()
        clock.advance(1.0)
        with pytest.raises(Unauthenticated):
            server.authenticate(secret)


@pytest.mark.guards("D22")
def test_a_known_key_expires_on_time(tmp_path: Path):
    clock = ManualClock()
    with office(tmp_path, clock) as server:
        old = server.create(name="k", tier=Tier.FREE).secret
        clock.advance(0.75)  # within a second of what follows, and in it
        server.rotate("k", overlap_s=1)
        server.authenticate(old)
        clock.advance(0.5)
        with pytest.raises(Unauthenticated):
            server.authenticate(old)


def test_a_busy_key_is_read_again_beside_its_requests(tmp_path: Path, reads: list[int]):
    clock = ManualClock()
    later: list[Callable[[], None]] = []
    with office(tmp_path, clock) as server:
        secret = server.create(name="k", tier=Tier.FREE).secret
        known = KnownKeys(Registry(server.store, PEPPER, clock, bytes), later.append)
        for _ in range(40):
            assert known.find(secret) is not None
            clock.advance(0.1)
            if len(later) == 1:
                thread = threading.Thread(target=later.pop())
                thread.start()
                thread.join()
        known.close()
    assert len(reads) >= 6
    assert reads.count(threading.get_ident()) == 1, "the first"


@pytest.mark.parametrize("changed", [True, False])
def test_changes_are_told_apart_from_what_nobody_remembers(tmp_path: Path, changed: bool):
    store = SqliteStore(tmp_path / "headrace.db", ManualClock())
    changes = Changes(tmp_path / "headrace.db")
    before = changes.latest()
    with store.changing(of_accounts=changed):
        pass
    assert (changes.latest() != before) == changed
    with pytest.raises(RuntimeError), store.changing():
        raise RuntimeError
    assert changes.latest() != before, "how far it came is nobody's to know"
    changes.close()
    store.close()


def test_who_does_not_serve_leaves_no_file(tmp_path: Path):
    with office(tmp_path, ManualClock()) as command:
        command.create(name="k", tier=Tier.FREE)
        assert not list(tmp_path.glob("*-changes"))
        assert isinstance(command, AccountService)
