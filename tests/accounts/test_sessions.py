"""Sessions: how they begin, go on and end."""

import asyncio
from pathlib import Path

import pytest

from headrace.accounts import OPERATOR, AccountService, NewSession, Role
from headrace.clock import ManualClock
from headrace.config import AccountsConfig
from headrace.errors import InvalidRequest, NoSession, TooManyAttempts, WrongLogin
from tests.accounts.office import HASH, PASSWORD, office, user

HERE = "10.0.0.1"
CONFIG = AccountsConfig(session_idle_s=600, session_max_s=3_600)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock, CONFIG) as made:
        user(made)
        yield made


def log_in(
    accounts: AccountService,
    email: str = "ann@example.com",
    password: str = PASSWORD,
    address: str = HERE,
) -> NewSession:
    return asyncio.run(accounts.sessions.log_in(email, password, address=address))


def is_there(accounts: AccountService, session_id: str) -> bool:
    try:
        accounts.sessions.find(session_id, address=HERE)
    except NoSession:
        return False
    return True


def test_a_session_says_who_and_from_where(accounts: AccountService):
    session = log_in(accounts, "ANN@example.com ")
    found = accounts.sessions.find(session.id, address=HERE)
    assert (found.actor.name, found.actor.address) == ("ann@example.com", HERE)
    assert found.csrf_token == session.csrf_token


def test_a_sessions_id_is_kept_as_its_digest_alone(accounts: AccountService, tmp_path: Path):
    session = log_in(accounts)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert session.id.encode() not in kept


def test_a_session_that_is_not_used_ends(accounts: AccountService, clock: ManualClock):
    session = log_in(accounts)
    clock.advance(599)
    assert is_there(accounts, session.id)
    accounts._writer.submit(int).result()  # what it wrote is there
    clock.advance(599)
    assert is_there(accounts, session.id)
    accounts._writer.submit(int).result()
    clock.advance(600)
    assert not is_there(accounts, session.id)


def test_a_session_ends_however_much_it_is_used(accounts: AccountService, clock: ManualClock):
    session = log_in(accounts)
    for _ in range(6):
        assert is_there(accounts, session.id)
        accounts._writer.submit(int).result()
        clock.advance(598)
    clock.advance(12)
    assert not is_there(accounts, session.id)


def test_of_many_sessions_the_newest_go_on(accounts: AccountService):
    (ann,) = accounts.users.everybody()
    begun = [accounts.sessions.begin(ann, address=HERE).id for _ in range(53)]
    assert [is_there(accounts, each) for each in begun] == [False] * 3 + [True] * 50


@pytest.mark.parametrize("session_id", [None, "", "x", "0" * 43, "\udcff"])
def test_what_is_no_session_is_none(accounts: AccountService, session_id: str | None):
    with pytest.raises(NoSession):
        accounts.sessions.find(session_id, address=HERE)


def test_another_password_ends_all_sessions(accounts: AccountService):
    first, second = log_in(accounts), log_in(accounts)
    found = accounts.sessions.find(first.id, address=HERE)
    with pytest.raises(WrongLogin):
        asyncio.run(accounts.sessions.change_password(found, "x", PASSWORD + "!"))
    with pytest.raises(InvalidRequest):
        asyncio.run(accounts.sessions.change_password(found, PASSWORD, "short"))
    assert is_there(accounts, second.id)
    asyncio.run(accounts.sessions.change_password(found, PASSWORD, PASSWORD + "!"))
    assert not is_there(accounts, first.id)
    assert not is_there(accounts, second.id)
    with pytest.raises(WrongLogin):
        log_in(accounts)
    assert log_in(accounts, password=PASSWORD + "!")


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ann@example.com", "wrong, but long enough"),
        ("nobody@example.com", PASSWORD),
        ("ann@example.com", HASH),
        ("ann@example.com", ""),
        ("ann@example.com", "x" * 10_000),
        ("dora@example.com", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
    ],
)
def test_a_wrong_log_in_says_no_more_than_that(accounts: AccountService, email: str, password: str):
    accounts.users.create(
        OPERATOR, email="dora@example.com", name="Dora", role=Role.MEMBER, password_hash=None
    )
    with pytest.raises(WrongLogin, match="Wrong e-mail address or password"):
        log_in(accounts, email, password)


@pytest.mark.guards("D38")
def test_an_account_is_slow_from_wherever_it_is_tried(accounts: AccountService, clock: ManualClock):
    for number in range(10):
        with pytest.raises(WrongLogin):
            log_in(accounts, password="wrong", address=f"10.0.0.{number}")
    with pytest.raises(TooManyAttempts) as refused:
        log_in(accounts, address="10.0.1.1")
    clock.advance(refused.value.retry_after_s)
    assert log_in(accounts, address="10.0.1.1")


@pytest.mark.guards("D38")
def test_attempts_in_parallel_are_counted_before_they_fail(accounts: AccountService):
    async def flood() -> list[str]:
        tries = [
            accounts.sessions.log_in("ann@example.com", "wrong", address=HERE) for _ in range(30)
        ]
        done = await asyncio.gather(*tries, return_exceptions=True)
        return [type(each).__name__ for each in done]

    kinds = asyncio.run(flood())
    assert kinds.count("WrongLogin") == 10
    assert kinds.count("TooManyAttempts") == 20


def test_success_is_no_failure(accounts: AccountService):
    for _ in range(12):
        assert log_in(accounts)
