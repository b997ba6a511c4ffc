"""Limits over HTTP: what callers see coming, what they are told when it came."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from headrace.accounts import AccountService, Tier
from headrace.accounts.account import UNLIMITED, KeyLimits
from headrace.accounts.api_keys import KeyDraft
from headrace.accounts.roles import DEFAULT_PROJECT, OPERATOR
from headrace.api import App, build_app
from headrace.clock import ManualClock
from headrace.config import TIERS, Config, LimitsConfig, MeteringConfig, TierConfig
from headrace.errors import BackendError
from headrace.metering import Meter, PriceList
from headrace.store import SqliteStore
from tests.api.exchange import Exchange, ask, call
from tests.conftest import Serve
from tests.scripted import CARD, ScriptedProvider

CHAT = "/v1/chat/completions"


class Shop:
    """A server with keys, and a clock in the test's hand."""

    def __init__(
        self,
        accounts: AccountService,
        *script: Any,
        prompt_tokens: int = 10,
        name: str = "k",
        **free: int,
    ) -> None:
        tier = replace(TIERS["free"], **free)
        self.clock = ManualClock()
        self.provider = ScriptedProvider(*(script or ("a", "b")), prompt_tokens=prompt_tokens)
        self.config = Config(home=Path("/nonexistent"), tiers={**TIERS, "free": tier})
        self.app: App = build_app(self.provider, accounts, self.config, self.clock)
        self.accounts = accounts
        self.key = self.new_key(name)

    def new_key(
        self, name: str = "k", tier: Tier | None = Tier.FREE, limits: KeyLimits = UNLIMITED
    ) -> str:
        draft = KeyDraft(name=name, tier=tier, limits=limits)
        return "Bearer " + self.accounts.keys.create(OPERATOR, DEFAULT_PROJECT, draft).secret

    def send(self, *, key: str = "", body: Any = None, **headers: str) -> Exchange:
        given = {"authorization": key or self.key} | headers
        return call(self.app, "POST", CHAT, ask() if body is None else body, **given)


def numbers(got: Exchange, window: str) -> tuple[int, int, float]:
    limit, remaining, reset = (
        got.headers[f"x-ratelimit-{what}-{window}"] for what in ("limit", "remaining", "reset")
    )
    return int(limit), int(remaining), float(reset)


def test_an_answer_says_how_the_limits_stand(accounts: AccountService) -> None:
    shop = Shop(accounts)
    got = shop.send()
    assert got.status == 200
    # Headers of a whole answer are written when it is there: 10 tokens of prompt, 2 of answer.
    assert numbers(got, "tokens-minute") == (60_000, 59_988, 0.012)
    assert numbers(got, "requests-minute") == (30, 29, 2.0)
    assert numbers(got, "tokens-day")[:2] == (1_000_000, 999_988)
    assert numbers(got, "requests-day") == (10**9, 10**9, 0.0), "there is none"
    stream = shop.send(body=ask(stream=True))
    # Those of a streamed one while it runs: 256 tokens are reserved for it.
    assert numbers(stream, "tokens-minute")[1] == 59_988 - 10 - 256
    assert numbers(shop.send(), "tokens-minute")[1] == 60_000 - 3 * 12


def test_over_the_limit_it_says_which_and_how_long(accounts: AccountService) -> None:
    shop = Shop(accounts, requests_per_minute=2)
    for _ in range(2):
        assert shop.send().status == 200
    got = shop.send()
    assert got.status == 429
    assert (got.json["type"], got.json["code"], got.json["param"]) == (
        "too_many_requests_error",
        "request_quota_exceeded",
        "quota",
    )
    assert (
        "organisation's limit is 2: 2 used, 1 requested; try again in 30 s" in got.json["message"]
    )
    assert got.headers["retry-after"] == "30"
    facts = {
        "bucket": "requests per minute",
        "whose": "organisation",
        "limit": 2,
        "used": 2,
        "requested": 1,
        "wait_s": 30.0,
    }
    assert got.json["rate_limit"] == got.json["error"]["rate_limit"] == facts
    assert numbers(got, "requests-minute") == (2, 0, 60.0)
    assert len(shop.provider.requests) == 2, "nothing was begun"
    shop.clock.advance(29.9)
    assert shop.send().status == 429
    shop.clock.advance(0.1)
    assert shop.send().status == 200


def test_a_long_wait_tells_clients_not_to_retry(accounts: AccountService) -> None:
    shop = Shop(accounts, tokens_per_day=20, prompt_tokens=10)
    assert shop.send().status == 200
    got = shop.send()
    assert (got.status, got.json["code"]) == (429, "token_quota_exceeded")
    assert int(got.headers["retry-after"]) > 60
    assert got.headers["x-should-retry"] == "false"


def test_a_large_bound_alone_is_never_too_much(accounts: AccountService) -> None:
    shop = Shop(accounts)
    for _ in range(30):
        assert shop.send(body=ask(max_completion_tokens=1_000_000)).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_what_breaks_off_gives_back_what_it_did_not_use(
    accounts: AccountService, stream: bool
) -> None:
    shop = Shop(accounts, "a", BackendError("broke"))
    shop.send(body=ask(stream=stream))
    left = numbers(shop.send(body=ask(stream=True)), "tokens-minute")[1]
    assert left == 60_000 - 11 - 266, "10 of prompt and 1 of answer, and this one's reservation"


def test_a_request_that_is_wrong_costs_nothing(accounts: AccountService) -> None:
    shop = Shop(accounts)
    for body in (ask(model="gpt-99"), ask(temperature=9), {}):
        got = shop.send(body=body)
        assert got.status in (400, 404)
        assert numbers(got, "requests-minute") == (30, 30, 0.0), "it says how the limits stand"
    assert numbers(shop.send(), "requests-minute")[1] == 29


def test_a_tier_has_a_context_of_its_own(accounts: AccountService) -> None:
    shop = Shop(accounts, prompt_tokens=100, context_tokens=100)
    got = shop.send()
    assert (got.status, got.json["code"]) == (400, "context_length_exceeded")
    assert "while limit is 100" in got.json["message"]
    roomy = Shop(accounts, prompt_tokens=100, name="roomy", context_tokens=101)
    assert roomy.send().status == 200
    assert roomy.provider.requests[0].context_tokens == 101
    roomy.send(key=roomy.new_key("dev", Tier.DEVELOPER))
    assert roomy.provider.requests[1].context_tokens == CARD.context_tokens


def test_a_prompt_larger_than_a_minute_is_too_large(accounts: AccountService) -> None:
    shop = Shop(accounts, prompt_tokens=100, tokens_per_minute=99)
    got = shop.send()
    assert (got.status, got.json["code"]) == (413, "request_too_large")


def test_a_keys_own_limits_hold_below_its_organisations(accounts: AccountService) -> None:
    shop = Shop(accounts)
    key = shop.new_key("small", limits=KeyLimits(requests_per_day=1))
    assert numbers(shop.send(key=key), "requests-day")[:2] == (1, 0)
    got = shop.send(key=key)
    assert got.status == 429
    assert "The key's limit is 1" in got.json["message"]
    assert shop.send().status == 200


def test_enterprise_has_no_shared_limits_and_is_told_so(accounts: AccountService) -> None:
    shop = Shop(accounts)
    key = shop.new_key("large", Tier.ENTERPRISE)
    answers = [shop.send(key=key) for _ in range(100)]
    assert {got.status for got in answers} == {200}
    told = {name for name in answers[-1].headers if name.startswith("x-ratelimit")}
    assert len(told) == 6
    for window in ("requests-day", "tokens-minute"):
        assert numbers(answers[-1], window) == (10**9, 10**9, 0.0)


def test_tokens_in_the_cache_leave_the_uncached_ones_alone(accounts: AccountService) -> None:
    shop = Shop(accounts, uncached_tokens_per_minute=20_000)
    provider = ScriptedProvider("a", "b", prompt_tokens=10, cached_tokens=8)
    shop.app = build_app(provider, accounts, shop.config, shop.clock)
    got = shop.send()
    assert numbers(got, "tokens-minute")[1] == 60_000 - 12
    assert numbers(got, "tokens-minute-uncached")[:2] == (20_000, 20_000 - 4)


def test_what_was_used_before_a_restart_stays_used(
    accounts: AccountService, tmp_path: Path
) -> None:
    """The books are the limiter's memory: minutes refill as if it had run on, days do not."""
    shop = Shop(accounts, requests_per_day=5)
    store = SqliteStore(tmp_path / "home" / "headrace.db", shop.clock)

    def meter() -> Meter:
        return Meter.open(tmp_path, store, shop.clock, MeteringConfig(), prices=PriceList([]))

    before = meter()
    shop.app = build_app(shop.provider, accounts, shop.config, shop.clock, meter=before)
    assert [shop.send().status for _ in range(3)] == [200] * 3
    before.close()
    shop.clock.advance(2)  # a request of the minute has come back: two in all
    after = meter()
    shop.app = build_app(shop.provider, accounts, shop.config, shop.clock, meter=after)
    got = shop.send()
    assert numbers(got, "requests-day")[:2] == (5, 1)
    assert numbers(got, "requests-minute")[:2] == (30, 30 - 3 + 1 - 1)
    assert numbers(got, "tokens-day")[1] == 1_000_000 - 4 * 12
    assert [shop.send().status for _ in range(2)] == [200, 429]
    after.close()
    shop.clock.advance(86_400)
    tomorrow = meter()
    shop.app = build_app(shop.provider, accounts, shop.config, shop.clock, meter=tomorrow)
    assert numbers(shop.send(), "requests-day")[:2] == (5, 4)
    tomorrow.close()
    store.close()


def test_limits_can_be_off(accounts: AccountService) -> None:
    shop = Shop(accounts, requests_per_minute=1)
    config = replace(shop.config, limits=LimitsConfig(enabled=False))
    shop.app = build_app(shop.provider, accounts, config, shop.clock)
    assert [shop.send().status for _ in range(3)] == [200] * 3


def test_a_browser_of_another_origin_may_read_the_headers(accounts: AccountService) -> None:
    got = Shop(accounts).send(origin="https://app.example")
    assert "x-ratelimit-remaining-tokens-minute" in got.headers["access-control-expose-headers"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_socket_gets_the_headers_an_application_gives(
    serve: Serve, accounts: AccountService, *, stream: bool
) -> None:
    """Over HTTP they take a shorter way than here: none is lost, and none comes twice."""
    shop = Shop(accounts, "a", "b", requests_per_day=50)
    url = serve(ScriptedProvider("a", "b", prompt_tokens=10), accounts, shop.config)
    body = ask(stream=stream)
    in_process = shop.send(body=body)
    got = httpx.post(f"{url}{CHAT}", json=body, headers={"authorization": shop.key})
    assert got.status_code == 200
    told = [(k.decode(), v.decode()) for k, v in got.headers.raw if k.startswith(b"x-ratelimit-")]
    names = [name for name, _ in told]
    assert len(set(names)) == len(names)
    assert names == [name for name in in_process.headers if name.startswith("x-ratelimit-")]
    for name, value in told:
        if "-limit-" in name:
            assert value == in_process.headers[name]
        else:
            assert float(value) >= 0


def test_the_official_client_sees_a_rate_limit(serve: Serve, accounts: AccountService) -> None:
    tiers = {**TIERS, "free": TierConfig(requests_per_minute=1)}
    url = serve(ScriptedProvider("x"), accounts, Config(home=Path("/nonexistent"), tiers=tiers))
    key = accounts.create(name="k", tier=Tier.FREE).secret
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:

        def complete() -> None:
            client.chat.completions.create(
                model=CARD.id, messages=[{"role": "user", "content": "hi"}]
            )

        complete()
        with pytest.raises(openai.RateLimitError) as caught:
            complete()
    assert caught.value.code == "request_quota_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
