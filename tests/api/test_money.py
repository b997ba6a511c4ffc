"""Money over HTTP: who cannot pay, who is cut, and a record of everybody, once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cerebras.cloud.sdk as cerebras
import pytest

from headrace.accounts import AccountService, Tier
from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import Config, PriceConfig
from headrace.errors import BackendError, QueueFull
from headrace.metering import Meter, PriceList
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger
from tests.api.exchange import Exchange, ask, call
from tests.conftest import Serve
from tests.scripted import CARD, ScriptedProvider

PRICES = PriceList([PriceConfig(model=CARD.id, input_micros=100_000, output_micros=600_000)])


class Till:
    """A server with a meter, and what it has written down."""

    def __init__(self, home: Path, accounts: AccountService, *script: Any) -> None:
        self.clock = ManualClock()
        self.accounts = accounts
        config = Config(home=home)
        self.store = SqliteStore(home / "home" / "headrace.db", self.clock)
        self.meter = Meter.open(home, self.store, self.clock, config.metering, prices=PRICES)
        self.provider = ScriptedProvider(*(script or ("a", "b", "c")), prompt_tokens=10)
        self.app = build_app(self.provider, accounts, config, self.clock, meter=self.meter)
        self.key = self.new_key(Tier.DEVELOPER)

    def new_key(self, tier: Tier) -> str:
        return "Bearer " + self.accounts.create(name=tier.value, tier=tier).secret

    def pay(self, micros: int) -> None:
        with self.store.changing() as tx:
            entry = LedgerRecord(
                id=f"led_{micros}",
                organisation_id="org_default",
                at_unix=0,
                kind="top_up",
                micros=micros,
                reference=str(micros),
            )
            assert ledger.append(tx, entry)

    def send(self, key: str = "", **fields: Any) -> Exchange:
        return call(
            self.app, "POST", "/v1/chat/completions", ask(**fields), authorization=key or self.key
        )

    def records(self) -> list[UsageRecord]:
        asyncio.run(self.meter.flush())
        with self.store.reading() as tx:
            return ledger.usage_of(tx, "org_default", 0, 1e12)


@pytest.fixture
def till(tmp_path: Path, accounts: AccountService) -> Iterator[Till]:
    made = Till(tmp_path, accounts)
    yield made
    made.meter.close()
    made.store.close()


def test_without_credit_it_is_a_402_that_nobody_retries(till: Till) -> None:
    got = till.send()
    assert got.status == 402
    assert (got.json["type"], got.json["code"], got.json["param"]) == (
        "payment_required_error",
        "payment_required",
        "quota",
    )
    assert got.headers["x-should-retry"] == "false"
    assert not [name for name in got.headers if name.startswith("x-ratelimit")]
    assert till.provider.requests == []
    assert till.records() == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_written_down_once_with_what_the_client_saw(till: Till, stream: bool) -> None:
    till.pay(1_000_000)
    got = till.send(stream=stream)
    assert got.status == 200
    (record,) = till.records()
    assert (record.prompt_tokens, record.completion_tokens) == (10, 3)
    assert (record.status, record.model, record.tier) == ("completed", CARD.id, "developer")
    assert record.micros == 3  # 1 + 1.8, half up
    assert record.request_id in got.body.decode(), "under the id of the answer"


def test_credit_that_does_not_pay_for_all_cuts_the_answer(till: Till) -> None:
    till.pay(7)
    assert till.send(max_completion_tokens=1_000).status == 200
    assert till.provider.requests[0].max_tokens == 10, "six micro-dollars, at 0.6 each"


def test_what_breaks_off_is_interrupted_and_costs_what_was_delivered(
    tmp_path: Path, accounts: AccountService
) -> None:
    till = Till(tmp_path, accounts, "a", "b", BackendError("broke"))
    till.pay(1_000_000)
    till.send(stream=True)
    (record,) = till.records()
    assert (record.status, record.prompt_tokens, record.completion_tokens) == ("interrupted", 10, 2)
    till.meter.close()
    till.store.close()


def test_what_is_refused_is_not_written_down_and_gives_everything_back(
    tmp_path: Path, accounts: AccountService
) -> None:
    till = Till(tmp_path, accounts, QueueFull("full"))
    till.pay(61)
    for _ in range(5):
        assert till.send(max_completion_tokens=100).status == 503
    assert till.provider.requests[-1].max_tokens == 100
    assert till.records() == []
    till.meter.close()
    till.store.close()


def test_free_keys_pay_nothing_and_are_written_down(till: Till) -> None:
    assert till.send(till.new_key(Tier.FREE)).status == 200
    (record,) = till.records()
    assert (record.tier, record.micros, record.completion_tokens) == ("free", 0, 3)


def test_an_alias_is_priced_as_the_model_it_names(tmp_path: Path, accounts: AccountService) -> None:
    till = Till(tmp_path, accounts)
    till.provider = ScriptedProvider("x", prompt_tokens=10, aliases=("other",))
    till.app = build_app(
        till.provider, accounts, Config(home=tmp_path), till.clock, meter=till.meter
    )
    till.pay(1_000_000)
    assert till.send(model="other").status == 200
    assert till.records()[0].model == CARD.id
    till.meter.close()
    till.store.close()


def test_the_cerebras_client_sees_that_credit_is_needed(
    serve: Serve, till: Till, accounts: AccountService
) -> None:
    url = serve(till.provider, accounts, meter=till.meter)
    with (
        cerebras.Cerebras(base_url=url, api_key=till.key.removeprefix("Bearer ")) as client,
        pytest.raises(cerebras.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=CARD.id, messages=[{"role": "user", "content": "hi"}])
    assert caught.value.status_code == 402
