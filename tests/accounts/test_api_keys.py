"""Keys: what they are held to, how they end."""

from pathlib import Path

import pytest

from headrace.accounts import (
    OPERATOR,
    AccountService,
    KeyDraft,
    KeyLimits,
    Role,
    Scopes,
    Tier,
    generate_key,
)
from headrace.clock import ManualClock
from headrace.errors import Forbidden, InvalidRequest, Unauthenticated, UnknownObject
from headrace.store import api_keys
from tests.accounts.office import office, user

PROJECT = "proj_default"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as made:
        yield made


def make(accounts: AccountService, **draft: object) -> str:
    made = accounts.keys.create(OPERATOR, PROJECT, KeyDraft(name="k", **draft))  # type: ignore[arg-type]
    return made.secret


def test_an_account_says_whose_it_is_and_what_its_key_is_held_to(accounts: AccountService):
    limits = KeyLimits(requests_per_minute=3, budget_micros=5_000_000)
    scopes = Scopes(models=("a", "b"))
    account = accounts.authenticate(make(accounts, limits=limits, scopes=scopes))
    assert (account.organisation_id, account.project_id) == ("org_default", PROJECT)
    assert (account.limits, account.scopes, account.tier) == (limits, scopes, Tier.ENTERPRISE)


def test_an_operators_key_keeps_the_tier_it_was_made_with(accounts: AccountService):
    secret = accounts.create(name="k", tier=Tier.DEVELOPER).secret
    accounts.organisations.set_tier("org_default", Tier.FREE)
    assert accounts.authenticate(secret).tier is Tier.DEVELOPER


@pytest.mark.guards("D20")
def test_a_key_has_256_bits_and_is_kept_as_their_digest_alone(
    accounts: AccountService, tmp_path: Path
):
    drawn: list[int] = []

    def token_bytes(count: int) -> bytes:
        drawn.append(count)
        return bytes(range(count))

    generate_key(token_bytes)
    assert drawn == [32]
    secret = make(accounts)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in kept
    assert secret[7:17].encode() not in kept, "before that it is shown"


@pytest.mark.guards("D20")
def test_a_look_up_that_finds_another_key_is_no_match(
    accounts: AccountService, monkeypatch: pytest.MonkeyPatch
):
    secret, other = make(accounts), accounts.create(name="o", tier=Tier.FREE)
    with accounts._store.reading() as tx:
        wrong = api_keys.one(tx, "org_default", other.key.id)
    monkeypatch.setattr(api_keys, "by_digest", lambda tx, digest: wrong)
    with pytest.raises(Unauthenticated):
        accounts.authenticate(secret)


@pytest.mark.guards("D22")
def test_no_identity_outlives_its_row(tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as server, office(tmp_path, clock) as command:
        first = command.create(name="first", tier=Tier.FREE)
        second = command.create(name="second", tier=Tier.ENTERPRISE)
        assert server.authenticate(first.secret).key_id == first.key.id
        assert server.authenticate(second.secret).key_id == second.key.id
        command.revoke("first")
        with pytest.raises(Unauthenticated):
            server.authenticate(first.secret)
        assert server.authenticate(second.secret).tier is Tier.ENTERPRISE


@pytest.mark.guards("D32")
@pytest.mark.parametrize("end", ["revoke", "delete user", "archive", "rotate"])
def test_an_ended_key_is_refused_at_once_everywhere(end: str, tmp_path: Path, clock: ManualClock):
    with office(tmp_path, clock) as server, office(tmp_path, clock) as other:
        ann = user(other)
        user(other, email="bob@example.com")
        project = other.projects.create(OPERATOR, "p")
        new = other.keys.create(OPERATOR, project.id, KeyDraft(name="k"), owner_id=ann.id)
        account = server.authenticate(new.secret)
        if end == "revoke":
            other.keys.revoke(OPERATOR, project.id, new.key.id)
        elif end == "delete user":
            other.users.remove(OPERATOR, ann.id)
        elif end == "archive":
            other.projects.archive(OPERATOR, project.id)
        else:
            other.keys.rotate(OPERATOR, project.id, new.key.id)
        with pytest.raises(Unauthenticated):
            server.authenticate(new.secret)
        assert not server.is_active(account)


@pytest.mark.guards("D32")
def test_a_key_expires_to_the_second(accounts: AccountService, clock: ManualClock):
    secret = make(accounts, expires_unix=int(clock.unix_s()) + 60)
    account = accounts.authenticate(secret)
    clock.advance(59)
    assert accounts.authenticate(secret)
    assert accounts.is_active(account)
    clock.advance(1)
    with pytest.raises(Unauthenticated):
        accounts.authenticate(secret)
    assert not accounts.is_active(account)


def test_a_rotated_key_goes_on_for_its_overlap(accounts: AccountService, clock: ManualClock):
    old = accounts.create(name="k", tier=Tier.DEVELOPER)
    new = accounts.rotate("k", overlap_s=600)
    assert accounts.authenticate(old.secret).key_id == old.key.id
    assert accounts.authenticate(new.secret).tier is Tier.DEVELOPER
    clock.advance(600)
    with pytest.raises(Unauthenticated):
        accounts.authenticate(old.secret)
    assert accounts.authenticate(new.secret)
    assert accounts.rotate("k").key.name == "k", "the newer one has the name"


def test_an_overlap_prolongs_nothing(accounts: AccountService, clock: ManualClock):
    old = make(accounts, expires_unix=int(clock.unix_s()) + 10)
    accounts.rotate("k", overlap_s=600)
    clock.advance(10)
    with pytest.raises(Unauthenticated):
        accounts.authenticate(old)


def test_a_key_is_rotated_once(accounts: AccountService):
    old = accounts.create(name="k", tier=Tier.FREE)
    accounts.keys.rotate(OPERATOR, PROJECT, old.key.id, overlap_s=600)
    with pytest.raises(UnknownObject):
        accounts.keys.rotate(OPERATOR, PROJECT, old.key.id, overlap_s=600)


@pytest.mark.parametrize(
    ("route", "is_allowed"),
    [
        ("/v1/models", True),
        ("/v1/models/org/x", True),
        ("/v1/modelsx", False),
        ("/v1/completions", False),
        ("", False),
    ],
)
def test_a_key_is_for_the_routes_of_its_scope(
    accounts: AccountService, route: str, is_allowed: bool
):
    secret = make(accounts, scopes=Scopes(routes=("/v1/models",)))
    if is_allowed:
        assert accounts.authenticate(secret, route=route)
    else:
        with pytest.raises(Forbidden):
            accounts.authenticate(secret, route=route)


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [("10.1.2.3", True), ("::1", True), ("11.0.0.1", False), ("", False), ("10.1.2.3.4", False)],
)
def test_a_key_is_for_the_addresses_of_its_scope(
    accounts: AccountService, address: str, is_allowed: bool
):
    secret = make(accounts, scopes=Scopes(addresses=("10.0.0.0/8", "::1")))
    if is_allowed:
        assert accounts.authenticate(secret, address=address)
    else:
        with pytest.raises(Forbidden):
            accounts.authenticate(secret, address=address)


@pytest.mark.parametrize(
    "scopes",
    [
        Scopes(models=()),
        Scopes(models=("a\n",)),
        Scopes(models=("m",) * 65),
        Scopes(routes=("v1",)),
        Scopes(routes=("/v1/models/",)),
        Scopes(addresses=("10.0.0.1/8",)),
        Scopes(addresses=("example.com",)),
    ],
)
def test_scopes_that_mean_nothing_are_refused(accounts: AccountService, scopes: Scopes):
    with pytest.raises(InvalidRequest, match="scopes"):
        make(accounts, scopes=scopes)


def test_a_key_manages_or_completes_but_not_both(accounts: AccountService):
    draft = KeyDraft(name="m", role=Role.ADMIN)
    management = accounts.keys.create_for_management(OPERATOR, draft).secret
    assert accounts.manager(management).role is Role.ADMIN
    with pytest.raises(Forbidden):
        accounts.authenticate(management)
    with pytest.raises(Forbidden):
        accounts.manager(make(accounts))


def test_a_projects_names_are_its_own(accounts: AccountService):
    project = accounts.projects.create(OPERATOR, "p")
    make(accounts)
    assert accounts.keys.create(OPERATOR, project.id, KeyDraft(name="k"))
    with pytest.raises(InvalidRequest, match="exists already"):
        make(accounts)
