"""`/metrics` as a scraper reads it: exact counts after requests through the whole application."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from headrace import __version__
from headrace.accounts import OPERATOR, AccountService, KeyDraft, Role, Tier
from headrace.accounts.organisations import operator_in
from headrace.api import App, build_app
from headrace.clock import ManualClock
from headrace.config import TIERS, Config, MetricsFor, TierConfig
from headrace.errors import BackendError, Draining, QueueFull, RequestTimeout
from headrace.store import OrganisationRecord, organisations
from headrace.types import TokenEvent, Usage
from tests.api.exchange import Exchange, app_of, ask, call, chat
from tests.scripted import CARD, Hold, ScriptedProvider

CHAT = "/v1/chat/completions"
TIER = "enterprise"  # of everybody, where there are no keys
PROMPT = TokenEvent(text="", usage=Usage(prompt_tokens=7, completion_tokens=0, cached_tokens=3))


def scraped(app: App, **headers: str) -> dict[tuple[str, ...], float]:
    """Name and label values, by the labels' names -> value."""
    got = call(app, "GET", "/metrics", **headers)
    assert got.status == 200
    assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
    }


def scraper(accounts: AccountService, role: Role = Role.VIEWER) -> dict[str, str]:
    """The headers of somebody who manages the server, with a role."""
    draft = KeyDraft(name=f"scraper {role}", role=role)
    made = accounts.keys.create_for_management(OPERATOR, draft)
    return {"authorization": f"Bearer {made.secret}"}


def ours(app: App, **headers: str) -> dict[tuple[str, ...], float]:
    """Counters that count something, but the scrapes."""
    return {
        (name.removeprefix("headrace_"), *labels): value
        for (name, *labels), value in scraped(app, **headers).items()
        if name.startswith("headrace_") and name.endswith("_total") and "/metrics" not in labels
        if value
    }


def test_completions_are_counted_whole_and_streamed():
    app = app_of(ScriptedProvider("a", "b", "c"))
    chat(app)
    chat(app, stream=True)
    assert ours(app) == {
        ("requests_total", "", CHAT, "2xx"): 2,
        ("completions_total", CARD.id, TIER): 2,
        ("prompt_tokens_total", CARD.id, TIER): 14,
        ("output_tokens_total", CARD.id, TIER): 6,
    }


def test_times_are_those_the_engine_told():
    app = app_of(ScriptedProvider("a", "b", "c"))
    chat(app, stream=True)
    got = scraped(app)
    for name, seconds in {
        "queue": 0.001,
        "time_to_first_token": 0.003,
        "inter_token": 0.002,
    }.items():
        name = f"headrace_{name}_seconds"
        assert got[name + "_sum", CARD.id] == pytest.approx(seconds)
        assert got[name + "_count", CARD.id] == 1
        below, at = seconds / 2, seconds * 1.5
        bounds = {float(key[1]): n for key, n in got.items() if key[0] == name + "_bucket"}
        assert all(n == 0 for bound, n in bounds.items() if bound <= below)
        assert all(n == 1 for bound, n in bounds.items() if bound >= at)


def test_one_token_has_no_gaps():
    app = app_of(ScriptedProvider("a"))
    chat(app)
    assert ("headrace_inter_token_seconds_count", CARD.id) not in scraped(app)


def test_waiting_for_admission_is_part_of_the_first_token():
    async def scene() -> App:
        clock, hold = ManualClock(), Hold()
        provider = ScriptedProvider(hold, "a", "b", greets=False)
        config = Config(home=Path("/nonexistent"))
        app = build_app(provider, None, config, clock)
        running = asyncio.create_task(Exchange(app, "POST", CHAT, ask()).run())
        await hold.reached.wait()
        clock.advance(0.5)
        hold.release()
        await running
        return app

    got = scraped(asyncio.run(scene()))
    assert got["headrace_time_to_first_token_seconds_sum", CARD.id] == pytest.approx(0.503)
    assert got["headrace_request_seconds_sum", CARD.id] == pytest.approx(0.5)


def test_nothing_is_counted_per_token(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    for kind, name in ((Counter, "inc"), (Histogram, "observe")):
        plain = getattr(kind, name)

        def counted(self: Any, *args: Any, plain: Any = plain, name: str = name) -> None:
            calls.append(name)
            plain(self, *args)

        monkeypatch.setattr(kind, name, counted)
    made: list[int] = []
    for tokens in (2, 500):
        calls.clear()
        chat(app_of(ScriptedProvider(*"x" * tokens)), stream=True)
        made.append(len(calls))
    assert made[0] == made[1] > 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendError("broken"), "engine_failure"),
        (ZeroDivisionError("a fault of ours"), "engine_failure"),
        (RequestTimeout("too late"), "deadline"),
        (Draining("stopping"), "shutdown"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_completions_that_break_off_are_counted_by_reason(
    error: Exception, reason: str, stream: bool
):
    app = app_of(ScriptedProvider(PROMPT, "a", "b", error, greets=False))
    chat(app, stream=stream)
    counted = ours(app)
    (requests,) = (key for key in counted if key[0] == "requests_total")
    assert (requests[1] == "") == (requests[3] == "2xx") == stream
    del counted[requests]
    assert counted == {
        ("aborted_total", CARD.id, reason, TIER): 1,
        ("prompt_tokens_total", CARD.id, TIER): 7,
        ("cached_tokens_total", CARD.id, TIER): 3,
        ("output_tokens_total", CARD.id, TIER): 2,
    }


def test_a_client_that_leaves_is_a_disconnect():
    async def scene() -> App:
        hold = Hold()
        app = app_of(ScriptedProvider("a", hold, "b"))
        for stream in (True, False):
            exchange = Exchange(app, "POST", CHAT, ask(stream=stream))
            running = asyncio.create_task(exchange.run())
            await hold.reached.wait()
            exchange.hang_up()
            await running
            hold.reached.clear()
        return app

    assert ours(asyncio.run(scene())) == {
        ("requests_total", "", CHAT, "2xx"): 1,
        ("requests_total", "", CHAT, "4xx"): 1,  # 499: nobody was left to answer
        ("aborted_total", CARD.id, "disconnect", TIER): 2,
        ("output_tokens_total", CARD.id, TIER): 2,
    }


def test_refusals_are_counted_by_code(accounts: AccountService):
    app = app_of(ScriptedProvider(QueueFull("full")), accounts)
    key = f"Bearer {accounts.create(name='k', tier=Tier.FREE).secret}"
    call(app, "POST", CHAT, ask(), authorization=key)
    call(app, "POST", CHAT, ask())
    call(app, "POST", CHAT, b"{", authorization=key)
    for i in range(20):
        call(app, "POST", CHAT, ask(model=f"model-{i}"), authorization=key)
    counted = ours(app, **scraper(accounts))
    assert {key[1:]: n for key, n in counted.items() if key[0] == "refused_total"} == {
        ("queue_exceeded", "free"): 1,
        ("missing_api_key", ""): 1,
        ("invalid_json", ""): 1,
        ("model_not_found", "free"): 20,
    }
    assert not any(name.endswith(("completions_total", "aborted_total")) for name, *_ in counted)


def test_addresses_are_counted_as_we_spell_them():
    app = app_of(ScriptedProvider())
    for i in range(30):
        call(app, "GET", f"/admin/{i}")
        call(app, "GET", f"/v1/models/model-{i}")
    call(app, "GET", f"/v1/models/{CARD.id}")
    call(app, "GET", CHAT)
    call(app, "GET", "/health/live")
    assert ours(app) == {
        ("requests_total", "not_found", "other", "4xx"): 30,
        ("requests_total", "model_not_found", "/v1/models/{model_id:path}", "4xx"): 30,
        ("requests_total", "", "/v1/models/{model_id:path}", "2xx"): 1,
        ("requests_total", "method_not_allowed", CHAT, "4xx"): 1,
        ("requests_total", "", "/health/live", "2xx"): 1,
    }


@dataclass
class Told:
    running: int = 1
    waiting: int = 2
    free_blocks: int = 3
    total_blocks: int = 4
    preempted: int = 5
    steps: int = 6
    prompt_tokens: int = 7
    cached_tokens: int = 8
    output_tokens: int = 9
    restarts: int = 10


def test_the_engines_numbers_are_read_when_asked_for():
    told = {"a": Told(), "b": Told(running=0)}
    app = with_stats(told)
    told["a"] = Told(running=11, steps=60)
    got = scraped(app)
    assert got["headrace_running", "a"] == 11
    assert got["headrace_running", "b"] == 0
    assert got["headrace_steps_total", "a"] == 60
    names = ("waiting", "kv_blocks_free", "kv_blocks", "preemptions_total")
    assert [got[f"headrace_{name}", "b"] for name in names] == [2, 3, 4, 5]
    names = ("prompt_tokens", "cached_tokens", "output_tokens", "restarts")
    assert [got[f"headrace_engine_{name}_total", "b"] for name in names] == [7, 8, 9, 10]


def with_stats(told: Mapping[str, object]) -> App:
    config = Config(home=Path("/nonexistent"))
    return build_app(ScriptedProvider(), None, config, ManualClock(), read_stats=lambda: told)


def test_process_and_build_are_there():
    got = scraped(app_of(ScriptedProvider()))
    assert got["process_resident_memory_bytes",] > 1e6
    assert got["process_open_fds",] > 2
    assert got["headrace_build_info", __version__] == 1
    assert not any(name.endswith("_created") for name, *_ in got)


def test_applications_count_for_themselves():
    one, other = app_of(ScriptedProvider("a")), app_of(ScriptedProvider("a"))
    chat(one)
    assert ours(one)
    assert not ours(other)


def test_no_key_no_tenant_no_prompt_is_told(accounts: AccountService):
    app = app_of(ScriptedProvider("answer-text"), accounts)
    made = accounts.create(name="laptop", tier=Tier.FREE)
    body = ask(messages=[{"role": "user", "content": "prompt-text"}], user="somebody")
    call(app, "POST", CHAT, body, authorization=f"Bearer {made.secret}")
    said = call(app, "GET", "/metrics", **scraper(accounts)).body.decode()
    (key, _) = accounts.list()
    for word in (made.secret, key.id, "laptop", "answer-text", "prompt-text", "somebody"):
        assert word not in said


def test_without_keys_only_this_machine_may_scrape():
    app = app_of(ScriptedProvider())
    assert call(app, "GET", "/metrics", host="rebound.example").status == 403
    assert call(app, "GET", "/metrics", origin="https://page.example").status == 403
    assert call(app, "POST", "/metrics").status == 405


def test_they_can_be_switched_off():
    app = app_of(ScriptedProvider(), metrics=MetricsFor.NOBODY)
    assert call(app, "GET", "/metrics").status == 404


def test_they_are_for_those_who_run_the_server(accounts: AccountService):
    app = app_of(ScriptedProvider(), accounts)
    assert call(app, "GET", "/metrics").status == 401
    user = accounts.create(name="laptop", tier=Tier.FREE).secret
    assert call(app, "GET", "/metrics", authorization=f"Bearer {user}").status == 403
    assert call(app, "GET", "/metrics", **scraper(accounts)).status == 200
    billing = scraper(accounts, Role.BILLING)
    assert call(app, "GET", "/metrics", **billing).status == 403
    with accounts._store.changing() as tx:
        record = OrganisationRecord(id="org_b", name="B", tier="free", created_unix=0)
        organisations.add(tx, record)
    foreign = accounts.keys.create_for_management(
        operator_in("org_b"), KeyDraft(name="b", role=Role.OWNER)
    )
    got = call(app, "GET", "/metrics", authorization=f"Bearer {foreign.secret}")
    assert (got.status, got.json["message"]) == (403, "This is for those who run the server.")


def test_a_setting_opens_them_to_all(accounts: AccountService):
    app = app_of(ScriptedProvider(), accounts, metrics=MetricsFor.ALL)
    assert call(app, "GET", "/metrics").status == 200


def test_what_limits_refuse_is_counted_by_tier_and_limit(accounts: AccountService):
    tiers = {**TIERS, "free": TierConfig(requests_per_minute=1)}
    config = Config(home=Path("/nonexistent"), tiers=tiers)
    app = build_app(ScriptedProvider("a"), accounts, config, ManualClock())
    key = f"Bearer {accounts.create(name='laptop', tier=Tier.FREE).secret}"
    for _ in range(3):
        call(app, "POST", CHAT, ask(), authorization=key)
    said = call(app, "GET", "/metrics", **scraper(accounts)).body.decode()
    assert 'headrace_limited_total{bucket="requests per minute",tier="free"} 2.0' in said
    assert 'headrace_refused_total{reason="request_quota_exceeded",tier="free"} 2.0' in said
    assert f'headrace_completions_total{{model="{CARD.id}",tier="free"}} 1.0' in said


def test_a_scrape_is_not_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="headrace"):
        call(app_of(ScriptedProvider()), "GET", "/metrics")
    assert not caplog.records
