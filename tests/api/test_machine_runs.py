"""The page of several machines over HTTP: who may, what is refused, how lines end."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from starlette.routing import BaseRoute

from headrace.accounts import AccountService, Role, Tier
from headrace.accounts.organisations import operator_in
from headrace.api import App, build_app
from headrace.api.machine_runs import LIST, RUN, machine_routes
from headrace.clock import ManualClock
from headrace.config import Config, MachinesConfig
from headrace.errors import EngineDied
from headrace.gateway.machines import Ending, Piece
from headrace.store import OrganisationRecord, organisations
from tests.api.exchange import Exchange
from tests.api.managed import World
from tests.gateway.test_machines import CONFIG, Shop
from tests.scripted import ScriptedProvider

GOOD = {"model": "mini", "machine": "wafer", "prompt": "hello", "max_tokens": 3}


def send(
    method: str,
    path: str,
    body: Any = None,
    accounts: AccountService | None = None,
    config: Config = CONFIG,
    as_: Mapping[str, str] = {},
) -> Exchange:
    async def scene() -> Exchange:
        shop = Shop(config)
        await shop.local.engine.start()
        try:
            routes: Sequence[BaseRoute] = machine_routes(shop.machines, accounts, config)
            app: App = build_app(ScriptedProvider(), accounts, config, ManualClock(), pages=routes)
            named = {name.replace("_", "-"): value for name, value in as_.items()}
            return await Exchange(app, method, path, body, named).run()
        finally:
            await shop.machines.stop()
            await shop.local.engine.stop()

    return asyncio.run(scene())


def test_the_machines_are_listed_and_one_answers_line_by_line() -> None:
    listed: Any = send("GET", LIST).json
    assert (listed["model"], listed["models"]) == ("mini", ["mini"])
    assert [m["name"] for m in listed["machines"]] == ["cpu", "wafer", "cuda", "endpoint"]
    got = send("POST", RUN, GOOD)
    assert got.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in got.body.splitlines()]
    assert sum(len(line["piece"]["ids"]) for line in lines[:-1]) == 3
    assert lines[-1]["ending"]["tokens"] == 3
    assert lines[-1]["ending"]["phases"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "gpt-99"}, 404, "model"),
        ({"machine": "abacus"}, 400, "machine"),
        ({"machine": "endpoint"}, 400, "machine"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "x" * 4_001}, 400, "prompt"),
        ({"max_tokens": 65}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"surprise": 1}, 400, "surprise"),
        ({"prompt": "x" * 20_000}, 413, None),
    ],
)
def test_a_bad_question_is_refused(change: dict[str, Any], status: int, param: str | None) -> None:
    got = send("POST", RUN, GOOD | change)
    assert got.status == status, got.json
    assert param is None or got.json["param"] == param


def test_a_failure_on_the_way_is_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        yield Piece(ids=(1,), texts=("a",), at_s=0.0)
        raise EngineDied("details that are the log's")
        yield Ending(tokens=1)

    monkeypatch.setattr("headrace.gateway.machines.Machines.run", broken)
    got = send("POST", RUN, GOOD)
    last = json.loads(got.body.splitlines()[-1])
    assert last["error"]["message"]
    assert "details" not in last["error"]["message"]


def test_it_can_be_switched_off() -> None:
    config = Config(home=CONFIG.home, machines=MachinesConfig(enabled=False))
    assert send("GET", LIST, config=config).status == 404


@pytest.mark.guards("D27")
def test_with_accounts_it_is_for_those_who_run_the_server(accounts: AccountService) -> None:
    world = World(accounts)
    assert send("GET", LIST, accounts=accounts).status == 401
    key = accounts.create(name="inference", tier=Tier.FREE).secret
    assert (
        send("GET", LIST, accounts=accounts, as_={"authorization": f"Bearer {key}"}).status == 403
    )
    for role in Role:
        may = role in {Role.OWNER, Role.ADMIN, Role.VIEWER}
        session = world.session(role)
        assert send("GET", LIST, accounts=accounts, as_=session).status == (200 if may else 403)
        got = send("POST", RUN, GOOD, accounts=accounts, as_=session)
        assert got.status == (200 if may else 403)
        without_token = {"cookie": session["cookie"]}
        assert send("POST", RUN, GOOD, accounts=accounts, as_=without_token).status == 403
    with accounts.store.changing() as tx:
        organisations.add(tx, OrganisationRecord(id="org_b", name="B", tier="free", created_unix=1))
    other = world.user(Role.OWNER, "b@example.com", operator_in("org_b"))
    begun = accounts.sessions.begin(other, address="127.0.0.1")
    stranger = {"cookie": f"headrace_session={begun.id}", "x_csrf_token": begun.csrf_token}
    assert send("POST", RUN, GOOD, accounts=accounts, as_=stranger).status == 403
