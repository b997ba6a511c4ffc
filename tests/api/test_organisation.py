"""What the organisation API does, beyond who may."""

from typing import Any

import pytest

from headrace.accounts import AccountService, Role
from tests.api.exchange import call
from tests.api.managed import World

PROJECTS = "/v1/organization/projects"
KEYS = PROJECTS + "/{project_id}/api_keys"


@pytest.fixture
def world(accounts: AccountService) -> World:
    return World(accounts)


def models(world: World, secret: str, **headers: str) -> int:
    return call(world.app, "GET", "/v1/models", authorization=f"Bearer {secret}", **headers).status


def test_a_key_is_made_shown_restricted_rotated_and_ended(world: World) -> None:
    made = world.send(KEYS, body={"name": "new", "limits": {"tokens_per_day": 5}}).json
    assert made["limits"]["tokens_per_day"] == 5
    assert models(world, made["value"]) == 200
    world.ids["key_id"] = made["id"]
    path = KEYS + "/{key_id}"
    shown = world.send(path, "get").json
    assert shown == {k: v for k, v in made.items() if k != "value"} | {
        "last_used_at": shown["last_used_at"]
    }
    changed = world.send(path, body={"scopes": {"routes": ["/v1/completions"]}}).json
    assert changed["scopes"]["routes"] == ["/v1/completions"]
    assert changed["limits"]["tokens_per_day"] == 5
    assert models(world, made["value"]) == 403
    rotated = world.send(path + "/rotate", body={"overlap_seconds": 60}).json
    assert (rotated["name"], rotated["scopes"]) == ("new", changed["scopes"])
    ending = world.send(path, "get").json
    assert ending["expires_at"] - rotated["created_at"] in (59, 60, 61)
    assert world.send(path, "delete").json["deleted"] is True
    assert world.send(path, "get").status == 404
    world.ids["key_id"] = rotated["id"]
    assert world.send(path, "get").status == 200


def test_a_member_sees_and_ends_his_own_keys_only(world: World) -> None:
    member = world.session(Role.MEMBER)
    mine = world.send(KEYS, body={"name": "mine"}, as_=member).json
    assert mine["owner"] == {"type": "user", "id": world.users[Role.MEMBER].id}
    listed = world.send(KEYS, "get", as_=member).json["data"]
    assert [key["id"] for key in listed] == [mine["id"]]
    assert {key["name"] for key in world.send(KEYS, "get").json["data"]} >= {"walked", "mine"}
    world.ids["key_id"] = mine["id"]
    assert world.send(KEYS + "/{key_id}", "delete", as_=member).status == 200
    assert models(world, mine["value"]) == 401


def test_who_leaves_takes_his_keys_and_sessions_with_him(world: World) -> None:
    session = world.session(Role.MEMBER)
    mine = world.send(KEYS, body={"name": "mine"}, as_=session).json["value"]
    world.ids["user_id"] = world.users[Role.MEMBER].id
    assert world.send("/v1/organization/users/{user_id}", "delete").status == 200
    assert models(world, mine) == 401
    assert world.send("/console/api/me", "get", as_=session).status == 401


def test_a_new_role_holds_for_sessions_that_run(world: World) -> None:
    session = world.session(Role.MEMBER)
    assert world.send("/v1/organization/users", "get", as_=session).status == 403
    world.ids["user_id"] = world.users[Role.MEMBER].id
    assert world.send("/v1/organization/users/{user_id}", body={"role": "admin"}).status == 200
    assert world.send("/v1/organization/users", "get", as_=session).status == 200


def test_an_archived_project_has_no_keys(world: World) -> None:
    secret = world.send(KEYS, body={"name": "new"}).json["value"]
    archived = world.send(PROJECTS + "/{project_id}/archive").json
    assert archived["status"] == "archived"
    assert models(world, secret) == 401
    assert world.send(KEYS, body={"name": "late"}).status == 400
    world.ids["project_id"] = "proj_default"
    assert world.send(PROJECTS + "/{project_id}/archive").status == 400


def test_a_service_account_comes_with_a_key_and_takes_it_along(world: World) -> None:
    path = PROJECTS + "/{project_id}/service_accounts"
    made = world.send(path, body={"name": "droid"}).json
    assert made["api_key"]["owner"] == {"type": "service_account", "id": made["id"]}
    assert models(world, made["api_key"]["value"]) == 200
    world.ids["account_id"] = made["id"]
    assert world.send(path + "/{account_id}", "delete").status == 200
    assert models(world, made["api_key"]["value"]) == 401


def test_an_administrator_makes_and_changes_no_owners(world: World) -> None:
    admin = world.session(Role.ADMIN)
    path = "/v1/organization/users/{user_id}"
    assert world.send(path, body={"role": "owner"}, as_=admin).status == 403
    invite = {"email": "boss@example.com", "role": "owner"}
    assert world.send("/v1/organization/invites", body=invite, as_=admin).status == 403
    world.ids["user_id"] = world.users[Role.OWNER].id
    assert world.send(path, body={"role": "viewer"}, as_=admin).status == 403
    assert world.send(path, "delete", as_=admin).status == 403


def test_the_last_owner_stays(world: World) -> None:
    world.ids["user_id"] = world.users[Role.OWNER].id
    path = "/v1/organization/users/{user_id}"
    for method, body in (("post", {"role": "admin"}), ("delete", None)):
        got = world.send(path, method, body)
        assert (got.status, "last owner" in got.json["message"]) == (400, True)


def test_lists_have_pages(world: World) -> None:
    seen: list[str] = []
    after = ""
    while True:
        got = world.send(f"/v1/organization/users?limit=2{after}", "get", as_=world.session()).json
        assert got["object"] == "list"
        assert (got["first_id"], got["last_id"]) == (got["data"][0]["id"], got["data"][-1]["id"])
        seen += [user["id"] for user in got["data"]]
        if not got["has_more"]:
            break
        after = f"&after={got['last_id']}"
    assert sorted(seen) == sorted(user.id for user in world.accounts.users.everybody())
    for query in ("limit=0", "limit=101", "limit=x", "limit=1e1"):
        got = world.send(f"/v1/organization/users?{query}", "get", as_=world.session())
        assert (got.status, got.json["param"]) == (400, "limit")
    got = world.send("/v1/organization/users?after=user-none", "get", as_=world.session())
    assert got.status == 404


def test_the_audit_log_says_who_changed_what(world: World) -> None:
    admin = world.session(Role.ADMIN)
    made = world.send(PROJECTS, body={"name": "audited"}, as_=admin).json
    key = {"authorization": f"Bearer {world.management_key}"}
    world.send(PROJECTS, body={"name": "by key"}, as_=key)
    rows = world.send("/v1/organization/audit_logs?limit=2", "get", as_=admin).json
    assert rows["has_more"]
    by_key, by_admin = rows["data"]
    assert by_admin["type"] == "project.created"
    assert by_admin["project.created"] == {"id": made["id"], "name": "audited"}
    assert by_admin["actor"] == {
        "type": "user",
        "id": world.users[Role.ADMIN].id,
        "name": "admin@example.com",
        "ip_address": "127.0.0.1",
    }
    assert (by_key["actor"]["type"], by_key["actor"]["id"]) == ("api_key", world.management_key_id)
    older = f"/v1/organization/audit_logs?limit=100&after={rows['last_id']}"
    rest = world.send(older, "get", as_=admin).json
    assert not rest["has_more"]
    assert {row["id"] for row in rest["data"]}.isdisjoint({by_key["id"], by_admin["id"]})


def changes(world: World) -> list[tuple[str, Any]]:
    return [
        ("/v1/organization/users/{user_id}", {"role": "viewer"}),
        ("/v1/organization/invites", {"email": "n@example.com", "role": "viewer"}),
        (PROJECTS, {"name": "p"}),
        (PROJECTS + "/{project_id}", {"name": "q"}),
        (PROJECTS + "/{project_id}/service_accounts", {"name": "s"}),
        (KEYS, {"name": "k9"}),
        (KEYS + "/{key_id}", {"limits": {}}),
        (KEYS + "/{key_id}/rotate", {}),
        ("/v1/organization/admin_api_keys", {"name": "m9"}),
        (PROJECTS + "/{project_id}/archive", None),
    ]


def test_every_change_leaves_a_row(world: World) -> None:
    for path, body in changes(world):
        before = world.send("/v1/organization/audit_logs", "get").json["first_id"]
        assert world.send(path, body=body).status == 200, path
        assert world.send("/v1/organization/audit_logs", "get").json["first_id"] != before, path
