"""Other settings for an application that runs."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Tier
from headrace.api import build_app
from headrace.api.live import LIVE, change
from headrace.clock import ManualClock
from headrace.config import (
    TIERS,
    Config,
    EngineConfig,
    LogConfig,
    LogLevel,
    MeteringConfig,
    PriceConfig,
)
from headrace.errors import ConfigError
from headrace.metering import Meter, PriceList
from headrace.store import SqliteStore, ledger
from tests.api.exchange import Exchange, ask, call
from tests.scripted import CARD, Hold, ScriptedProvider, Step

FREE = PriceConfig(model=CARD.id, input_micros=0)
START = Config(home=Path("/nonexistent"), prices=(FREE,))


class Running:
    """A server whose requests are invoiced, on settings that are followed."""

    def __init__(self, folder: Path, accounts: AccountService, *script: Step) -> None:
        self.clock = ManualClock()
        self.provider = ScriptedProvider(*script, prompt_tokens=10)
        self.store = SqliteStore(folder / "headrace.db", self.clock)
        prices = PriceList(START.prices)
        self.meter = Meter.open(folder, self.store, self.clock, MeteringConfig(), prices=prices)
        self.app = build_app(self.provider, accounts, START, self.clock, meter=self.meter)
        made = accounts.create(name="k", tier=Tier.ENTERPRISE)
        self.headers = {"authorization": f"Bearer {made.secret}"}

    def exchange(self, **fields: Any) -> Exchange:
        return Exchange(self.app, "POST", "/v1/chat/completions", ask(**fields), self.headers)

    def status(self, **fields: Any) -> int:
        return asyncio.run(self.exchange(**fields).run()).status

    def price(self) -> str:
        path = f"/v1/models/{CARD.id}?format=openrouter"
        return call(self.app, "GET", path, **self.headers).json["pricing"]["prompt"]

    def costs(self) -> list[int]:
        asyncio.run(self.meter.flush())
        with self.store.reading() as tx:
            return [record.micros for record in ledger.usage_of(tx, "org_default", 0, 1e12)]

    def close(self) -> None:
        self.meter.close()
        self.store.close()


@pytest.fixture
def running(tmp_path: Path, accounts: AccountService) -> Iterator[Running]:
    with closing(Running(tmp_path, accounts, "a", "b")) as made:
        yield made


def priced(micros: int) -> Config:
    return replace(START, prices=(replace(FREE, input_micros=micros),))


def limited(**limits: Any) -> Config:
    return replace(START, tiers={**TIERS, "enterprise": replace(TIERS["enterprise"], **limits)})


def test_a_price_holds_for_requests_from_then_on_and_is_the_one_shown(running: Running) -> None:
    assert running.status() == 200
    running.app.follow(priced(1_000_000))
    assert float(running.price()) == 1e-6
    assert running.status() == 200
    assert running.costs() == [0, 12], "ten tokens of prompt and two of answer, at one each"


def test_what_runs_ends_at_the_price_it_began_with(
    tmp_path: Path, accounts: AccountService
) -> None:
    hold = Hold()
    with closing(Running(tmp_path, accounts, "a", hold, "b")) as running:

        async def scenario() -> None:
            exchange = running.exchange(stream=True)
            task = asyncio.create_task(exchange.run())
            await hold.reached.wait()
            running.app.follow(priced(1_000_000))
            hold.release()
            await task

        asyncio.run(scenario())
        assert running.costs() == [0]


def test_limits_come_and_go_and_what_was_used_stays_used(running: Running) -> None:
    assert running.status() == 200
    running.app.follow(limited(requests_per_minute=1))
    assert running.status() == 200
    assert running.status() == 429
    running.app.follow(limited(requests_per_minute=2))
    assert [running.status(), running.status()] == [200, 429]
    running.app.follow(START)
    assert running.status() == 200


def test_rules_change_with_the_next_request(running: Running) -> None:
    assert running.status(store=True) == 200
    changed = replace(START.api, request_timeout_s=7.0, strict_params=True)
    running.app.follow(replace(START, api=changed))
    assert running.status(store=True) == 400
    assert running.status() == 200
    assert [r.terms.timeout_s for r in running.provider.requests] == [600.0, 7.0]


def test_settings_that_cannot_be_in_force_change_nothing(running: Running) -> None:
    twice = replace(limited(requests_per_minute=1), prices=(FREE, FREE))
    with pytest.raises(ConfigError, match="two prices"):
        running.app.follow(twice)
    assert [running.status() for _ in range(3)] == [200, 200, 200]


def test_only_what_is_live_comes_in_force() -> None:
    new = replace(
        limited(weight=3.0),
        home=Path("/elsewhere"),
        engine=EngineConfig(threads=3),
        log=LogConfig(level=LogLevel.DEBUG),
        api=replace(START.api, port=1, strict_params=True),
    )
    found = change(START, new)
    assert found.live == ["api.strict_params", "tiers", "log.level"]
    assert found.waiting == ["home", "api.port", "engine.threads"]
    assert found.config == replace(
        START, tiers=new.tiers, log=new.log, api=replace(START.api, strict_params=True)
    )
    assert change(found.config, new).live == []
    assert change(new, new).waiting == []


def test_every_live_setting_is_one_and_is_told_of() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name in LIVE:
        assert f"`{name}`" in page
        section, _, field = name.partition(".")
        value = getattr(START, section)
        assert not field or field in {each.name for each in fields(value)}
