"""Every address that manages accounts, asked by every role and by a key for inference."""

import pytest

from headrace.accounts import AccountService, KeyDraft, Role
from headrace.api.organisation_openapi import ORGANISATION_OPERATIONS
from tests.api.managed import World

OWN, ADM, MEM, BIL, VIE = Role.OWNER, Role.ADMIN, Role.MEMBER, Role.BILLING, Role.VIEWER
ALL = {OWN, ADM, MEM, BIL, VIE}

# The reading of the roles that the code is held to: by address and method, who may.
MAY = {
    "/users": {"get": {OWN, ADM, VIE}},
    "/users/{user_id}": {"get": {OWN, ADM, VIE}, "post": {OWN, ADM}, "delete": {OWN, ADM}},
    "/invites": {"get": {OWN, ADM}, "post": {OWN, ADM}},
    "/invites/{invite_id}": {"get": {OWN, ADM}, "delete": {OWN, ADM}},
    "/projects": {"get": ALL, "post": {OWN, ADM}},
    "/projects/{project_id}": {"get": ALL, "post": {OWN, ADM}},
    "/projects/{project_id}/archive": {"post": {OWN, ADM}},
    "/projects/{project_id}/service_accounts": {"get": {OWN, ADM, VIE}, "post": {OWN, ADM}},
    "/projects/{project_id}/service_accounts/{account_id}": {
        "get": {OWN, ADM, VIE},
        "delete": {OWN, ADM},
    },
    "/projects/{project_id}/api_keys": {"get": {OWN, ADM, MEM, VIE}, "post": {OWN, ADM, MEM}},
    # Of others: a member has his own, and does not know of these.
    "/projects/{project_id}/api_keys/{key_id}": {
        "get": {OWN, ADM, VIE},
        "post": {OWN, ADM},
        "delete": {OWN, ADM},
    },
    "/projects/{project_id}/api_keys/{key_id}/rotate": {"post": {OWN, ADM}},
    "/admin_api_keys": {"get": {OWN}, "post": {OWN}},
    "/admin_api_keys/{key_id}": {"get": {OWN}, "delete": {OWN}},
    "/audit_logs": {"get": {OWN, ADM}},
    "/server/audit_logs": {"get": {OWN, ADM}},
    "/usage/completions": {"get": ALL},
    "/costs": {"get": ALL},
    "/statements/{month}": {"get": {OWN, ADM, BIL, VIE}},
    "/credit": {"get": {OWN, ADM, BIL, VIE}},
    "/credit/entries": {"get": {OWN, ADM, BIL, VIE}, "post": {OWN, ADM}},
    "/prices": {"get": ALL},
    "/organizations": {"get": {OWN, ADM, VIE}},
    "/organizations/{organization_id}": {"post": {OWN, ADM}},
    "/tiers": {"get": ALL},
    # Of another: as the key itself.
    "/projects/{project_id}/api_keys/{key_id}/limits": {"get": {OWN, ADM, VIE}},
}
RESTRICTS = {("/v1/organization/projects/{project_id}/api_keys/{key_id}", "post")}
WALKED = [
    (path, method)
    for path, methods in ORGANISATION_OPERATIONS.items()
    if path.startswith("/v1/organization")
    for method in methods
]


def test_the_table_has_every_address() -> None:
    listed = {(f"/v1/organization{path}", m) for path, by in MAY.items() for m in by}
    assert listed == set(WALKED)


@pytest.mark.guards("D27")
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("way", ["session", "management key"])
@pytest.mark.parametrize(("path", "method"), WALKED)
def test_a_role_may_what_the_table_says(
    path: str, method: str, way: str, role: Role, accounts: AccountService
) -> None:
    world = World(accounts)
    as_ = world.session(role)
    if way == "management key":
        draft = KeyDraft(name=f"of {role}", role=role)
        new = accounts.keys.create_for_management(world.actor(Role.OWNER), draft)
        as_ = {"authorization": f"Bearer {new.secret}"}
    body = world.good_body(path) if method == "post" else None
    got = world.send(path, method, body, as_=as_)
    if role in MAY[path.removeprefix("/v1/organization")][method]:
        assert got.status == 200, got.json
        return
    is_key_of_another = "/projects/{project_id}/api_keys/{key_id}" in path
    unknown = role is Role.MEMBER and is_key_of_another and (path, method) not in RESTRICTS
    assert got.status == (404 if unknown else 403), got.json


@pytest.mark.guards("D27")
@pytest.mark.parametrize(("path", "method"), WALKED)
def test_a_key_for_inference_manages_nothing(
    path: str, method: str, accounts: AccountService
) -> None:
    world = World(accounts)
    body = world.good_body(path) if method == "post" else None
    got = world.send(path, method, body, as_={"authorization": f"Bearer {world.key}"})
    assert (got.status, got.json["param"]) == (403, "role")
