"""Who runs the server sees its organisations and gives them tiers; nobody else can."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.accounts import AccountService, Role, Tier
from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import AccountsConfig, Config, SignUp
from tests.api.exchange import app_of, call
from tests.api.managed import PASSWORD, World
from tests.scripted import ScriptedProvider

ORGANISATIONS = "/v1/organization/organizations"
ONE = ORGANISATIONS + "/{organization_id}"
AUDIT = "/v1/organization/audit_logs"
AUDIT_OF_ALL = "/v1/organization/server/audit_logs"
STATE = "/console/api/state"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = Config(home=tmp_path, accounts=AccountsConfig(sign_up=SignUp.OPEN))
    with AccountService.open(config) as accounts:
        yield World(accounts)


def stranger(world: World) -> dict[str, str]:
    """The session of an owner of another organisation, which `world.ids` then names."""
    work = world.accounts.sign_ups.by_oneself(
        email="else@example.com", name="Else", password=PASSWORD, address="127.0.0.1"
    )
    user = asyncio.run(work)
    begun = world.accounts.sessions.begin(user, address="127.0.0.1")
    world.ids["organization_id"] = user.organisation_id
    return {"cookie": f"headrace_session={begun.id}", "x_csrf_token": begun.csrf_token}


@pytest.mark.guards("D26")
def test_an_owner_elsewhere_raises_no_tier_and_sees_no_organisation(world: World) -> None:
    session = stranger(world)
    assert world.send(ORGANISATIONS, "get", as_=session).status == 403
    got = world.send(ONE, body={"tier": "enterprise"}, as_=session)
    assert (got.status, got.json["param"]) == (403, "role")
    own = world.send("/console/api/me", "get", as_=session).json
    assert (own["organization"]["tier"], own["runs_server"]) == ("free", False)


def test_a_tier_is_given_and_both_logs_say_so(world: World) -> None:
    session = stranger(world)
    admin = world.session(Role.ADMIN)
    assert world.send(ONE, body={"tier": "developer"}, as_=admin).json["tier"] == "developer"
    own = world.send("/console/api/me", "get", as_=session).json
    assert own["organization"]["tier"] == "developer"
    ours, theirs = (
        world.send(AUDIT + "?limit=1", "get", as_=who).json["data"][0] for who in (admin, session)
    )
    assert ours["organization.updated"] == theirs["organization.updated"]
    assert ours["actor"]["id"] == world.users[Role.ADMIN].id
    assert theirs["actor"] == {
        "type": "operator",
        "id": "operator",
        "name": "operator",
        "ip_address": "",
    }


def test_who_runs_the_server_sees_what_was_changed_in_every_organisation(world: World) -> None:
    session, admin = stranger(world), world.session(Role.ADMIN)
    elsewhere = world.ids["organization_id"]
    world.send("/v1/organization/projects", body={"name": "theirs"}, as_=session)
    world.send("/v1/organization/projects", body={"name": "ours"}, as_=admin)
    rows = world.send(AUDIT_OF_ALL + "?limit=2", "get", as_=admin).json
    assert rows["has_more"]
    assert [(row["organization_id"], row["project.created"]["name"]) for row in rows["data"]] == [
        ("org_default", "ours"),
        (elsewhere, "theirs"),
    ]
    older = f"{AUDIT_OF_ALL}?limit=100&after={rows['last_id']}"
    rest = world.send(older, "get", as_=admin).json
    assert {row["organization_id"] for row in rest["data"]} == {"org_default", elsewhere}
    assert {row["id"] for row in rest["data"]}.isdisjoint({row["id"] for row in rows["data"]})


@pytest.mark.guards("D26")
def test_an_owner_elsewhere_sees_the_log_of_his_own_organisation_only(world: World) -> None:
    session = stranger(world)
    world.send("/v1/organization/projects", body={"name": "ours"}, as_=world.session(Role.ADMIN))
    assert world.send(AUDIT_OF_ALL, "get", as_=session).status == 403
    own = world.send(AUDIT, "get", as_=session).json["data"]
    assert {row["organization_id"] for row in own} == {world.ids["organization_id"]}


def test_a_tier_of_ones_own_organisation_is_in_its_log_once(world: World) -> None:
    world.ids["organization_id"] = "org_default"
    world.send(ONE, body={"tier": "free"}, as_=world.session(Role.ADMIN))
    world.accounts.organisations.set_tier("org_default", Tier.DEVELOPER)
    log = world.send(AUDIT, "get", as_=world.session()).json["data"]
    changes = [row for row in log if row["type"] == "organization.updated"]
    assert [row["actor"]["type"] for row in changes] == ["operator", "user"]


def test_a_tier_or_an_organisation_that_is_none_is_named(world: World) -> None:
    got = world.send(ONE, body={"tier": "platinum"})
    assert (got.status, got.json["param"]) == (400, "tier")
    world.ids["organization_id"] = "org_nobody"
    got = world.send(ONE, body={"tier": "free"})
    assert (got.status, got.json["param"]) == (400, "organisation")


def test_organisations_come_with_their_credit(world: World) -> None:
    stranger(world)
    other = world.ids["organization_id"]
    body = {"amount_micros": 2_500_000, "organization_id": other, "kind": "grant"}
    assert world.send("/v1/organization/credit/entries", body=body).status == 200
    listed = {each["id"]: each for each in world.send(ORGANISATIONS, "get").json["data"]}
    assert listed[other]["name"] == "Else"
    assert listed[other]["balance_micros"] == 2_500_000
    assert listed["org_default"]["balance_micros"] == 0


def test_tiers_say_what_they_allow_and_null_where_they_do_not_bound(world: World) -> None:
    session = stranger(world)
    tiers = {
        t["id"]: t for t in world.send("/v1/organization/tiers", "get", as_=session).json["data"]
    }
    assert tiers["free"]["limits"]["requests_per_minute"] == 30
    assert tiers["enterprise"]["limits"]["requests_per_minute"] is None
    assert tiers["developer"]["billing"] == "credit"


def test_the_state_tells_a_stranger_how_to_enter_and_a_user_who_he_is(world: World) -> None:
    nobody = world.send(STATE, "get", as_={}).json
    assert (nobody["accounts"], nobody["session"]) == (True, None)
    assert world.send(STATE, "get", as_={"cookie": "headrace_session=forged"}).json == nobody
    found = world.send(STATE, "get", as_=world.session(Role.ADMIN)).json["session"]
    assert found["user"]["email"] == "admin@example.com"
    assert found["runs_server"] is True
    assert (
        world.send(STATE, "get", as_=world.session(Role.VIEWER)).json["session"]["runs_server"]
        is False
    )


@pytest.mark.parametrize("mode", SignUp)
def test_the_state_says_how_one_signs_up(accounts: AccountService, mode: SignUp) -> None:
    config = Config(home=Path("/nonexistent"), accounts=AccountsConfig(sign_up=mode))
    app = build_app(ScriptedProvider(), accounts, config, ManualClock())
    assert call(app, "GET", STATE).json["sign_up"] == mode.value


def test_a_server_without_accounts_says_so() -> None:
    got = call(app_of(ScriptedProvider()), "GET", STATE)
    assert got.json == {
        "object": "console.state",
        "accounts": False,
        "sign_up": None,
        "identity_provider": False,
        "session": None,
    }
