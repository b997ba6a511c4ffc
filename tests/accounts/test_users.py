"""Users, invitations and sign-up, one at a time and fifty at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from headrace.accounts import OPERATOR, AccountService, Actor, ActorKind, Role
from headrace.clock import ManualClock
from headrace.config import AccountsConfig, SignUp
from headrace.errors import Forbidden, HeadraceError, InvalidRequest
from headrace.store import UserRecord
from tests.accounts.office import HASH, PASSWORD, office, user

T = TypeVar("T")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as made:
        yield made


def accept(accounts: AccountService, secret: str) -> UserRecord:
    work = accounts.sign_ups.by_invitation(
        secret, name="Guest", password=PASSWORD, address="10.0.0.1"
    )
    return asyncio.run(work)


def sign_up(accounts: AccountService, email: str) -> UserRecord:
    work = accounts.sign_ups.by_oneself(
        email=email, name="Bob", password=PASSWORD, address="10.0.0.1"
    )
    return asyncio.run(work)


def invited(accounts: AccountService, role: Role = Role.MEMBER) -> str:
    return accounts.users.invite(OPERATOR, "guest@example.com", role).secret


@pytest.mark.parametrize(
    "email",
    ["", "a", "a@", "@b", "a b@c.d", "a@b@c", "a@b\nc", "a@" + "x" * 64, "a" * 65 + "@b.c", "é@ü"],
)
def test_what_is_no_address_is_refused(accounts: AccountService, email: str):
    with pytest.raises(InvalidRequest):
        user(accounts, email=email)


def test_an_address_belongs_to_one_user_in_any_letters(accounts: AccountService):
    user(accounts, email="ann@example.com")
    with pytest.raises(InvalidRequest, match="already"):
        user(accounts, email="Ann@Example.com")


@pytest.mark.guards("D31")
def test_of_fifty_first_administrators_at_once_there_is_one(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as accounts:

        def create(_: int) -> bool:
            try:
                user(accounts, Role.OWNER, "root@example.com")
            except InvalidRequest:
                return False
            return True

        with ThreadPoolExecutor(max_workers=16) as pool:
            assert list(pool.map(create, range(50))).count(True) == 1
        assert [each.role for each in accounts.users.everybody()] == ["owner"]


@pytest.mark.guards("D31")
def test_nobody_who_comes_by_himself_administers_the_server(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock, AccountsConfig(sign_up=SignUp.OPEN)) as accounts:
        for number in range(9):
            sign_up(accounts, f"u{number}@example.com")
        assert not accounts.has_owner()
        owners = accounts.users.everybody()
        assert len({each.organisation_id for each in owners} - {"org_default"}) == 9
        tiers = {each.tier for each in accounts.organisations.all() if each.id != "org_default"}
        assert tiers == {"free"}


def test_an_invitation_opens_once_with_the_role_it_names(accounts: AccountService):
    secret = invited(accounts, Role.BILLING)
    guest = accept(accounts, secret)
    assert (guest.email, guest.role) == ("guest@example.com", "billing")
    assert guest.organisation_id == "org_default"
    with pytest.raises(Forbidden):
        accept(accounts, secret)


def test_of_two_who_accept_at_once_one_comes_in(accounts: AccountService):
    secret = invited(accounts)

    def one(_: int) -> bool:
        try:
            accept(accounts, secret)
        except HeadraceError:
            return False
        return True

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(one, range(4))).count(True) == 1


def test_an_invitation_expires(accounts: AccountService, clock: ManualClock):
    secret = invited(accounts)
    clock.advance(AccountsConfig().invite_s)
    with pytest.raises(Forbidden):
        accept(accounts, secret)


def test_a_newer_invitation_and_a_withdrawn_one_close_the_older(accounts: AccountService):
    old, new = invited(accounts), invited(accounts)
    with pytest.raises(Forbidden):
        accept(accounts, old)
    (invite,) = accounts.users.invites(OPERATOR)
    accounts.users.withdraw(OPERATOR, invite.id)
    with pytest.raises(Forbidden):
        accept(accounts, new)


@pytest.mark.parametrize(
    ("mode", "by_invitation", "by_oneself"),
    [
        (SignUp.OPEN, True, True),
        (SignUp.INVITATION, True, False),
        (SignUp.CLOSED, False, False),
    ],
)
def test_the_setting_says_who_may_sign_up(
    mode: SignUp, by_invitation: bool, by_oneself: bool, tmp_path: Path, clock: ManualClock
):
    def succeeds(work: Callable[[], object]) -> bool:
        try:
            work()
        except Forbidden:
            return False
        return True

    with office(tmp_path, clock, AccountsConfig(sign_up=mode)) as accounts:
        secret = invited(accounts)
        assert succeeds(lambda: accept(accounts, secret)) is by_invitation
        assert succeeds(lambda: sign_up(accounts, "bob@example.com")) is by_oneself


def test_signing_up_is_slow_for_one_address(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as accounts:
        for _ in range(10):
            with pytest.raises(Forbidden):
                sign_up(accounts, "bob@example.com")
        with pytest.raises(HeadraceError, match="Too many"):
            sign_up(accounts, "bob@example.com")


def actor(role: Role) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id="user-x",
        name="x",
        organisation_id="org_default",
        role=role,
        address="",
    )


@pytest.mark.guards("D27")
@pytest.mark.parametrize("role", [Role.MEMBER, Role.BILLING, Role.VIEWER])
def test_only_owners_and_administrators_make_users(accounts: AccountService, role: Role):
    with pytest.raises(Forbidden):
        accounts.users.create(
            actor(role), email="b@example.com", name="B", role=Role.VIEWER, password_hash=None
        )


def test_only_owners_are_over_owners(accounts: AccountService):
    ann = user(accounts)
    admin = actor(Role.ADMIN)
    with pytest.raises(Forbidden):
        accounts.users.create(
            admin, email="b@example.com", name="B", role=Role.OWNER, password_hash=HASH
        )
    with pytest.raises(Forbidden):
        accounts.users.remove(admin, ann.id)
