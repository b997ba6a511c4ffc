"""R6: a request that comes twice with one Idempotency-Key is answered and billed once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.accounts import AccountService, Tier
from headrace.api import build_app, repeats
from headrace.clock import ManualClock
from headrace.config import TIERS, Config, TierConfig
from headrace.errors import BackendError
from headrace.metering import Meter, PriceList
from headrace.store import SqliteStore, UsageRecord, ledger
from tests.api.exchange import Exchange, ask, call
from tests.conftest import Serve
from tests.scripted import CARD, Hold, ScriptedProvider

CHAT = "/v1/chat/completions"


class Shop:
    """A server with a meter, opened anew as often as one likes."""

    def __init__(self, home: Path, accounts: AccountService, *script: Any) -> None:
        self.clock = ManualClock()
        self.accounts = accounts
        self.config = Config(home=home)
        self.home = home
        self.store = SqliteStore(home / "home" / "headrace.db", self.clock)
        self.provider = ScriptedProvider(*(script or ("a", "b", "c")), prompt_tokens=10)
        self.key = self.new_key("k")
        self.open()

    def open(self) -> None:
        metering = self.config.metering
        self.meter = Meter.open(self.home, self.store, self.clock, metering, prices=PriceList([]))
        self.app = build_app(
            self.provider, self.accounts, self.config, self.clock, meter=self.meter
        )

    def new_key(self, name: str) -> str:
        return "Bearer " + self.accounts.create(name=name, tier=Tier.FREE).secret

    def exchange(self, word: str, *, key: str = "", path: str = CHAT, **fields: Any) -> Exchange:
        body = {"model": CARD.id, "prompt": "x"} | fields if path != CHAT else ask(**fields)
        headers = {"authorization": key or self.key, "idempotency-key": word}
        return Exchange(self.app, "POST", path, body, headers)

    def send(self, word: str, **fields: Any) -> Exchange:
        return asyncio.run(self.exchange(word, **fields).run())

    def records(self) -> list[UsageRecord]:
        asyncio.run(self.meter.flush())
        with self.store.reading() as tx:
            return ledger.usage_of(tx, "org_default", 0, 1e12)


@pytest.fixture
def shop(tmp_path: Path, accounts: AccountService) -> Iterator[Shop]:
    made = Shop(tmp_path, accounts)
    yield made
    made.meter.close()
    made.store.close()


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_repeat_gets_the_first_answer_and_costs_nothing(
    shop: Shop, path: str, stream: bool
) -> None:
    first, again = (shop.send("once", path=path, stream=stream) for _ in range(2))
    assert first.status == again.status == 200
    assert first.body == again.body
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert len([name for name, _ in again.messages[0]["headers"] if name == b"x-request-id"]) == 1
    assert len(shop.provider.requests) == 1
    (record,) = shop.records()
    found = first.events[0]["id"] if stream else first.json["id"]
    assert record.request_id == found
    other = shop.send("another", path=path)
    assert other.headers["x-ratelimit-remaining-requests-minute"] == "28", "two were asked"


def test_other_keys_accounts_and_routes_are_other_requests(shop: Shop) -> None:
    other = shop.new_key("other")
    answers = [
        shop.send("one"),
        shop.send("two"),
        shop.send("one", key=other),
        shop.send("one", path="/v1/completions"),
        call(shop.app, "POST", CHAT, ask(), authorization=shop.key),
        call(shop.app, "POST", CHAT, ask(), authorization=shop.key),
    ]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["id"] for answer in answers}) == 6
    assert len(shop.records()) == 6


def test_another_body_is_refused(shop: Shop) -> None:
    assert shop.send("once").status == 200
    got = shop.send("once", max_tokens=3)
    assert (got.status, got.json["param"]) == (400, "idempotency-key")
    assert len(shop.provider.requests) == 1


@pytest.mark.parametrize("word", ["", "a b", "x" * 256, "ä"])
def test_a_malformed_key_is_refused(shop: Shop, word: str) -> None:
    got = shop.send(word)
    assert (got.status, got.json["param"]) == (400, "idempotency-key")


def test_without_a_right_to_ask_there_is_no_right_to_hear_it_again(shop: Shop) -> None:
    assert shop.send("once").status == 200
    shop.accounts.revoke("k")
    assert shop.send("once").status == 401


def test_while_the_first_runs_a_repeat_is_told_to_come_back(
    tmp_path: Path, accounts: AccountService
) -> None:
    hold = Hold()
    shop = Shop(tmp_path, accounts, "a", hold, "b")

    async def scene() -> tuple[Exchange, Exchange, Exchange]:
        first = shop.exchange("once")
        running = asyncio.create_task(first.run())
        await hold.reached.wait()
        during = await shop.exchange("once").run()
        hold.release()
        await running
        return first, during, await shop.exchange("once").run()

    first, during, after = asyncio.run(scene())
    assert (during.status, during.json["type"], during.json["code"]) == (
        409,
        "conflict_error",
        "conflict",
    )
    assert during.headers["retry-after"] == "1"
    assert first.status == 200
    assert after.body == first.body
    assert len(shop.records()) == 1
    shop.meter.close()
    shop.store.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_finds_its_answer_when_it_comes_back(
    tmp_path: Path, accounts: AccountService, stream: bool
) -> None:
    hold = Hold()
    shop = Shop(tmp_path, accounts, "a", hold, "b")

    async def scene() -> Exchange:
        first = shop.exchange("once", stream=stream)
        running = asyncio.create_task(first.run())
        await hold.reached.wait()
        first.hang_up()
        await asyncio.sleep(0)
        hold.release()
        await running
        return await shop.exchange("once", stream=stream).run()

    again = asyncio.run(scene())
    assert again.status == 200
    said = (
        "".join(event["choices"][0]["delta"].get("content", "") for event in again.events)
        if stream
        else again.json["choices"][0]["message"]["content"]
    )
    assert said == "ab"
    (record,) = shop.records()
    assert (record.status, record.completion_tokens) == ("completed", 2)
    shop.meter.close()
    shop.store.close()


@pytest.mark.parametrize("stream", [False, True])
def test_what_broke_off_is_tried_anew_and_each_attempt_is_written_down(
    tmp_path: Path, accounts: AccountService, stream: bool
) -> None:
    shop = Shop(tmp_path, accounts, "a", BackendError("broke"))
    broken = shop.send("once", stream=stream)
    assert broken.status == (200 if stream else 500)
    shop.provider._script = ("a", "b")
    whole, again = shop.send("once", stream=stream), shop.send("once", stream=stream)
    assert whole.status == 200
    assert again.body == whole.body
    assert [(r.status, r.completion_tokens) for r in shop.records()] == [
        ("interrupted", 1),
        ("completed", 2),
    ]
    shop.meter.close()
    shop.store.close()


def test_what_was_refused_may_be_asked_again(shop: Shop) -> None:
    shop.config = Config(home=shop.home, tiers={**TIERS, "free": TierConfig(requests_per_minute=1)})
    shop.app = build_app(shop.provider, shop.accounts, shop.config, shop.clock, meter=shop.meter)
    assert shop.send("first").status == 200
    assert shop.send("once").status == 429
    assert shop.send("once", temperature=9).status == 400
    shop.clock.advance(60)
    assert shop.send("once").status == 200


def test_a_restart_forgets_the_answer_and_not_that_it_was_billed(shop: Shop) -> None:
    assert shop.send("once").status == 200
    shop.meter.close()
    shop.open()
    for fields in ({}, {"max_tokens": 3}):
        got = shop.send("once", **fields)
        assert (got.status, got.headers["x-should-retry"]) == (409, "false")
        assert "answered and billed" in got.json["message"]
    assert len(shop.provider.requests) == 1
    assert len(shop.records()) == 1


def test_after_a_restart_what_had_broken_off_has_another_attempt(
    tmp_path: Path, accounts: AccountService
) -> None:
    shop = Shop(tmp_path, accounts, "a", BackendError("broke"))
    assert shop.send("once").status == 500
    shop.meter.close()
    shop.open()
    shop.provider._script = ("a", "b")
    assert shop.send("once").status == 200
    assert [r.status for r in shop.records()] == ["interrupted", "completed"]
    shop.meter.close()
    shop.store.close()


def test_answers_are_kept_for_a_day_and_within_bounds(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(shop.send("sized").body)
    monkeypatch.setattr(repeats, "MOST_BYTES", 3 * size + size // 2)
    for number in range(3):
        assert shop.send(f"n{number}").status == 200
    assert shop.send("sized").status == 409, "the oldest made room"
    assert [shop.send(f"n{number}").status for number in range(3)] == [200] * 3
    monkeypatch.setattr(repeats, "MOST_ANSWER_BYTES", size // 2)
    assert [shop.send("large").status for _ in range(2)] == [200, 409]
    shop.clock.advance(repeats.KEPT_S + 1)
    assert shop.send("n2").status == 409, "a day is over"
    assert len(shop.records()) == 5


def test_the_official_client_gets_one_answer(serve: Serve, accounts: AccountService) -> None:
    provider = ScriptedProvider("x", "y")
    url = serve(provider, accounts)
    secret = accounts.create(name="k", tier=Tier.FREE).secret
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as client:
        answers = [
            client.chat.completions.create(
                model=CARD.id,
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"Idempotency-Key": "order-17"},
            )
            for _ in range(2)
        ]
    assert answers[0] == answers[1]
    assert len(provider.requests) == 1
