"""What may be tried on keys, accounts and the console's sessions, over all addresses."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Role, Tier
from headrace.api.organisation_openapi import ORGANISATION_OPERATIONS
from headrace.config import AccountsConfig, Config, SignUp
from tests.api.exchange import Exchange, app_of, ask, call
from tests.api.managed import HASH, PASSWORD, PATHS, World
from tests.scripted import ScriptedProvider

INJECTION = "'; DROP TABLE users; --\""
MANAGING = [path for path in ORGANISATION_OPERATIONS if path.startswith("/v1/organization")]
CHANGES = [
    (path, method)
    for path, methods in ORGANISATION_OPERATIONS.items()
    for method, operation in methods.items()
    if method != "get" and operation.has_session
]
changes = pytest.mark.parametrize(("path", "method"), CHANGES)


@pytest.fixture
def world(accounts: AccountService) -> World:
    return World(accounts)


def body_of(world: World, path: str, method: str) -> Any:
    return world.good_body(path) if method == "post" else None


def texts_replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: texts_replaced(each) for name, each in value.items()}
    return INJECTION if isinstance(value, str) else value


@pytest.mark.guards("D21")
@pytest.mark.parametrize("path", [p for p in PATHS if "requestBody" in PATHS[p].get("post", {})])
def test_quotes_in_every_field_are_text(path: str, world: World) -> None:
    before = world.accounts.users.everybody()
    good = world.good_body(path)
    for name in good:
        body = good | {name: texts_replaced(good[name])}
        assert world.send(path, body=body).status in (200, 400, 401, 403, 404)
    world.ids = dict.fromkeys(world.ids, INJECTION)
    world.management_key_id = INJECTION
    assert world.send(path, body=good).status in (200, 400, 401, 403, 404)
    assert set(world.accounts.users.everybody()) >= {
        user for user in before if user.email != "target@example.com"
    }


@pytest.mark.guards("D21")
@pytest.mark.parametrize(
    "header", ["authorization", "cookie", "x_csrf_token", "x_forwarded_for", "origin", "prefer"]
)
def test_quotes_in_every_header_are_text(header: str, world: World) -> None:
    value = {"authorization": f"Bearer {INJECTION}", "cookie": f"headrace_session={INJECTION}"}
    for path in ("/v1/organization/users", "/console/api/me", "/v1/models"):
        got = world.send(path, "get", as_={header: value.get(header, INJECTION)})
        assert got.status == 401
    assert len(world.accounts.users.everybody()) == 6


@pytest.mark.guards("D23")
def test_a_key_is_shown_once(world: World) -> None:
    made = world.send("/v1/organization/projects/{project_id}/api_keys", body={"name": "n"}).json
    secrets = [made["value"], world.management_key, world.key, world.invite_secret]
    seen = ""
    for path in MANAGING:
        if "get" in ORGANISATION_OPERATIONS[path]:
            seen += world.send(path, "get").body.decode()
    assert made["value"][-4:] in seen
    for secret in secrets:
        assert secret not in seen
        assert secret[6:-6] not in seen


@pytest.mark.guards("D24")
@pytest.mark.parametrize("path", PATHS)
def test_an_error_tells_nothing_of_the_inside(path: str, world: World, tmp_path: Path) -> None:
    method = next(iter(PATHS[path]))
    body, opening = body_of(world, path, method), world.credentials(path, method)
    database = next(tmp_path.rglob("headrace.db"))
    raw = sqlite3.connect(database, isolation_level=None)
    for table in ("api_keys", "users", "invites", "projects", "audit_log"):
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute(f"ALTER TABLE {table} RENAME TO gone_{table}")
    raw.close()
    got = world.send(path, method, body, as_=opening)
    if PATHS[path][method]["security"]:
        assert got.status == 503, got.json
    told = json.dumps(got.json) if got.status >= 400 else ""
    for secret in (str(tmp_path), "sqlite", "api_keys", "Traceback", world.key, "127.0.0.1"):
        assert secret not in told


@pytest.mark.guards("D26")
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_nobody_makes_himself_more(role: Role, world: World) -> None:
    session = world.session(role)
    me = world.users[role]
    world.ids["user_id"] = me.id
    for new in Role:
        body = {"role": new.value}
        assert world.send("/v1/organization/users/{user_id}", body=body, as_=session).status == 403
    assert [user for user in world.accounts.users.everybody() if user.id == me.id] == [me]


ROLE_FIELDS = (
    "/v1/organization/users/{user_id}",
    "/v1/organization/invites",
    "/v1/organization/admin_api_keys",
)


@pytest.mark.guards("D26")
@pytest.mark.parametrize("path", [p for p, m in CHANGES if "requestBody" in PATHS[p].get(m, {})])
@pytest.mark.parametrize(
    "field", ["role", "tier", "organization_id", "organisation_id", "balance", "limit", "owner_id"]
)
def test_no_field_of_any_change_gives_more(path: str, field: str, world: World) -> None:
    if field == "role" and path in ROLE_FIELDS:
        field = "roles"  # that one is of somebody else: the roles' table has who may
    if field == "tier" and path.endswith("/organizations/{organization_id}"):
        field = "tiers"  # likewise, for those who run the server: test_server_calls has it
    if field == "organization_id" and path.endswith("/credit/entries"):
        field = "organization"  # that one is for those who run the server: test_usage has it
    got = world.send(path, body=world.good_body(path) | {field: "enterprise"})
    assert (got.status, got.json["param"]) == (400, field)


@pytest.mark.guards("D26")
def test_a_key_has_the_tier_of_its_organisation(world: World) -> None:
    path = "/v1/organization/projects/{project_id}/api_keys"
    made = world.send(path, body={"name": "n"}).json
    assert made["tier"] == "enterprise"
    world.accounts.organisations.set_tier("org_default", Tier.FREE)
    assert world.accounts.authenticate(made["value"]).tier is Tier.FREE


def stranger(tmp_path: Path) -> tuple[World, dict[str, str]]:
    """A world, and the session of an owner of another organisation."""
    accounts = AccountService.open(
        Config(home=tmp_path / "shared", accounts=AccountsConfig(sign_up=SignUp.OPEN))
    )
    world = World(accounts)
    body = {"email": "stranger@example.com", "name": "Stranger", "password": PASSWORD}
    got = world.send("/console/api/signup", body=body)
    cookie = got.headers["set-cookie"].partition(";")[0]
    return world, {"cookie": cookie, "x_csrf_token": got.json["csrf_token"]}


@pytest.mark.guards("D28")
def test_what_is_anothers_is_unknown(tmp_path: Path) -> None:
    world, session = stranger(tmp_path)
    tried = 0
    for path in MANAGING:
        for method in ORGANISATION_OPERATIONS[path]:
            if "{" not in path or "{month}" in path:  # a month is nobody's
                continue
            theirs = world.send(path, method, body_of(world, path, method), as_=session)
            ids, world.ids = world.ids, dict.fromkeys(world.ids, "id_none")
            key_id, world.management_key_id = world.management_key_id, "id_none"
            nobodys = world.send(path, method, body_of(world, path, method), as_=session)
            world.ids, world.management_key_id = ids, key_id
            # Who does not run the server learns of no organisation whether it is there, either.
            status = 403 if "{organization_id}" in path else 404
            assert (theirs.status, theirs.json) == (status, nobodys.json), (path, method)
            tried += 1
    assert tried >= 15
    for path in MANAGING:
        if "{" not in path and "get" in ORGANISATION_OPERATIONS[path]:
            seen = world.send(path, "get", as_=session).body.decode()
            assert not [each for each in world.ids.values() if each in seen]
    world.accounts.close()


@pytest.mark.guards("D29")
def test_a_key_reaches_the_models_of_its_scope_only(world: World) -> None:
    path = "/v1/organization/projects/{project_id}/api_keys"
    scopes = {"models": ["org/another"]}
    made = world.send(path, body={"name": "n", "scopes": scopes}).json["value"]
    key = {"authorization": f"Bearer {made}"}
    of_models = [p for p in PATHS if PATHS[p].get("post", {}).get("security") == [{"key": []}]]
    assert len(of_models) >= 4
    for each in of_models:
        good = world.good_body(each)
        for body in (good, good | {"stream": True} if "completions" in each else good):
            got = world.send(each, body=body, as_=key)
            unknown = world.send(each, body=body | {"model": "no/such"}, as_=key)
            assert (got.status, got.json["code"]) == (404, "model_not_found")
            assert got.json["message"].replace(good["model"], "no/such") == unknown.json["message"]
    assert world.send("/v1/models", "get", as_=key).json["data"] == []
    assert world.send("/v1/models/{model_id}", "get", as_=key).status == 404
    assert world.provider.requests == []


@pytest.mark.guards("D30")
def test_no_hash_of_a_password_leaves_or_opens(world: World) -> None:
    for path in ORGANISATION_OPERATIONS:
        if "get" in ORGANISATION_OPERATIONS[path]:
            assert "argon2" not in world.send(path, "get").body.decode()
    assert all("argon2" not in repr(user) for user in world.accounts.users.everybody())
    body = {"email": "owner@example.com", "password": HASH}
    assert world.send("/console/api/login", body=body).status == 401


def log_in(world: World, **headers: str) -> Exchange:
    return world.send("/console/api/login", body=world.good_body("/console/api/login"), as_=headers)


@pytest.mark.guards("D33")
def test_a_session_lies_in_a_cookie_that_no_script_reads(world: World) -> None:
    first = log_in(world)
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    session_id = cookie.partition(";")[0].partition("=")[2]
    assert len(session_id) == 43
    assert session_id not in first.body.decode()
    planted = log_in(world, cookie=cookie.partition(";")[0])
    assert planted.headers["set-cookie"] != cookie
    old = world.send("/console/api/me", "get", as_={"cookie": cookie.partition(";")[0]})
    assert old.status == 401


@pytest.mark.guards("D33")
def test_under_tls_the_cookie_says_so(accounts: AccountService) -> None:
    world = World(accounts, trusted_proxies=("127.0.0.1",))
    assert "; Secure" in log_in(world, x_forwarded_proto="https").headers["set-cookie"]
    assert "; Secure" not in log_in(world, x_forwarded_proto="http").headers["set-cookie"]


@pytest.mark.guards("D33")
@changes
def test_a_change_needs_the_sessions_token(path: str, method: str, world: World) -> None:
    session, other = world.session(), world.session()
    for token in (None, "", "x", other["x_csrf_token"]):
        headers = {"cookie": session["cookie"]} | ({"x_csrf_token": token} if token else {})
        got = world.send(path, method, body_of(world, path, method), as_=headers)
        assert (got.status, got.json["param"]) == (403, "x-csrf-token")
    assert world.send(path, method, body_of(world, path, method), as_=session).status == 200


@pytest.mark.guards("D34")
@pytest.mark.parametrize(
    ("path", "method"), [*CHANGES, ("/console/api/login", "post"), ("/console/api/signup", "post")]
)
def test_pages_of_other_origins_change_nothing(path: str, method: str, world: World) -> None:
    session = world.session()
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9", "http://127.0.0.1.evil"):
        got = world.send(path, method, body_of(world, path, method), as_=session, origin=origin)
        assert (got.status, got.json["param"]) == (403, "origin")
    own = "http://127.0.0.1:8000"
    got = world.send(path, method, body_of(world, path, method), as_=session, origin=own)
    assert got.status == 200


@pytest.mark.guards("D34")
@pytest.mark.parametrize(
    "path", [p for p in ORGANISATION_OPERATIONS if p.endswith(("me", "users"))]
)
def test_names_that_were_led_here_are_refused(path: str, accounts: AccountService) -> None:
    world = World(accounts)
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example"):
        got = world.send(path, "get", as_=world.session(), host=host)
        assert (got.status, got.json["param"]) == (403, "host")
    for host in ("localhost:8000", "192.168.1.7", "[::1]:8000"):
        assert world.send(path, "get", as_=world.session(), host=host).status == 200


@pytest.mark.guards("D35")
@pytest.mark.parametrize("path", ORGANISATION_OPERATIONS)
def test_what_manages_accounts_is_no_other_origins_to_call(path: str, world: World) -> None:
    for method in (*ORGANISATION_OPERATIONS[path], "options"):
        got = world.send(path, method, as_=world.session(), origin="https://a.example")
        assert not [name for name in got.headers if name.startswith("access-control")]
        assert got.status >= 400 or method == "get"


@pytest.mark.guards("D35")
def test_no_origin_gets_credentials(world: World) -> None:
    for path in PATHS:
        for method in ("get", "post", "options"):
            got = world.send(path, method, origin="https://a.example")
            assert "access-control-allow-credentials" not in got.headers


@pytest.mark.guards("D36")
def test_a_new_server_is_closed(accounts: AccountService) -> None:
    assert Config(home=Path()).api.host == "127.0.0.1"
    assert accounts.users.everybody() == ()
    assert accounts.list() == ()
    body = {"email": "a@example.com", "name": "A", "password": PASSWORD}
    app = app_of(ScriptedProvider("x"), accounts)
    assert call(app, "POST", "/console/api/signup", body).status == 403
    for password in ("admin", "password", "", "headrace"):
        login = {"email": "admin@localhost", "password": password or " "}
        assert call(app, "POST", "/console/api/login", login).status == 401
    assert call(app, "POST", "/v1/chat/completions", ask()).status == 401


@pytest.mark.guards("D38")
def test_failed_log_ins_slow_down_whoever_fails(world: World) -> None:
    wrong = {"email": "owner@example.com", "password": "wrong, but long enough"}
    statuses = [world.send("/console/api/login", body=wrong).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    got = world.send("/console/api/login", body=wrong)
    assert got.headers["retry-after"] in ("5", "6")
    other = wrong | {"email": "nobody@example.com"}
    assert world.send("/console/api/login", body=other).status == 429, "by address"


@pytest.mark.guards("D38")
def test_unknown_keys_slow_down_whoever_tries_and_nobody_else(world: World) -> None:
    wrong = {"authorization": "Bearer hr-wrong"}
    statuses = [world.send("/v1/models", "get", as_=wrong).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert world.send("/v1/organization/users", "get", as_=wrong).status == 429
    assert world.send("/v1/models", "get").status == 200


def test_a_form_of_a_log_in_is_small(world: World) -> None:
    body = {"email": "a@example.com", "password": "x" * 17_000}
    assert world.send("/console/api/login", body=body).status == 413


def test_unknown_users_and_wrong_passwords_are_answered_alike(world: World) -> None:
    def answer(email: str) -> Any:
        body = {"email": email, "password": "wrong, but long enough"}
        got = world.send("/console/api/login", body=body)
        return got.status, got.json, {k: v for k, v in got.headers.items() if k != "x-request-id"}

    assert answer("owner@example.com") == answer("nobody@example.com")
