"""A service with a clock that a test moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.accounts import OPERATOR, AccountService, Role, hash_password
from headrace.clock import ManualClock
from headrace.config import AccountsConfig
from headrace.store import SqliteStore, UserRecord

PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)


@contextmanager
def office(
    home: Path, clock: ManualClock, config: AccountsConfig | None = None
) -> Iterator[AccountService]:
    """The accounts in `home`; several at a time are several processes, as far as they know."""
    store = SqliteStore(home / "headrace.db", clock)
    with AccountService(store, b"p" * 32, clock, config=config) as accounts:
        yield accounts


def user(
    accounts: AccountService, role: Role = Role.OWNER, email: str = "ann@example.com"
) -> UserRecord:
    return accounts.users.create(OPERATOR, email=email, name="Ann", role=role, password_hash=HASH)
