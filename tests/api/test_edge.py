"""Addresses, keys, headers: what holds for every route."""

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from headrace.accounts import AccountService, Tier
from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.console import pages
from headrace.errors import HeadraceError, QueueFull, RateLimited
from tests.api.exchange import app_of, ask, call, chat
from tests.scripted import CARD, ScriptedProvider

OPEN_PATHS = {
    "/",
    "/v1/tcp_warming",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/console/api/state",
    "/public/v1/models",
    "/public/v1/models/{model_id:path}",
}


def test_models_are_listed_and_found():
    app = app_of(ScriptedProvider())
    listed = call(app, "GET", "/v1/models").json
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"]) == (CARD.id, "model")
    assert (model["created"], model["owned_by"]) == (CARD.created, CARD.owned_by)
    assert call(app, "GET", f"/v1/models/{CARD.id}").json == model
    assert call(app, "GET", f"/openai/v1/models/{CARD.id}/").json == model


def test_an_unknown_model_is_a_404():
    got = call(app_of(ScriptedProvider()), "GET", "/v1/models/no/such")
    assert (got.status, got.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("prefix", ["", "/openai", "/v1", "//", "/public"])
@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/embeddings", "/v1/chat", "/v1/../etc"])
def test_an_unknown_address_is_a_404_with_the_usual_body(prefix: str, path: str):
    got = call(app_of(ScriptedProvider()), "POST", prefix + path, ask())
    assert got.status == 404
    fields = {k: got.json[k] for k in ("message", "type", "param", "code")}
    assert fields == got.json["error"]
    assert fields["code"] == "not_found"
    assert all(isinstance(value, str) for value in fields.values())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", {"POST"}),
        ("DELETE", "/v1/models", {"GET", "HEAD"}),
        ("POST", f"/v1/models/{CARD.id}", {"GET", "HEAD"}),
        ("GET", "/openai/v1/completions", {"POST"}),
        ("PUT", "/v1/v1/tokenize/", {"POST"}),
        ("OPTIONS", "//public//v1/models", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(
    method: str, path: str, allowed: set[str]
):
    got = call(app_of(ScriptedProvider()), method, path)
    assert (got.status, got.json["code"]) == (405, "method_not_allowed")
    assert set(got.headers["allow"].split(", ")) == allowed


def test_health_tells_living_from_ready():
    provider = ScriptedProvider()
    app = app_of(provider)
    assert call(app, "GET", "/health/ready").status == 200
    provider.ready = False
    got = call(app, "GET", "/health/ready")
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert call(app, "GET", "/health/live").status == 200


def test_the_root_leads_to_the_console():
    got = call(app_of(ScriptedProvider()), "GET", "/")
    assert (got.status, got.headers["location"]) == (307, "/console")
    got = call(app_of(ScriptedProvider()), "HEAD", "/")
    assert (got.status, got.body) == (200, b"")


@pytest.mark.parametrize("path", ["/v1/models", "/nothing", "/health/live", "/v1/chat/completions"])
def test_every_response_has_a_request_id_of_ours(path: str):
    app = app_of(ScriptedProvider())
    got = [call(app, "GET", path, x_request_id="mine").headers for _ in range(2)]
    assert all(h["x-request-id"].startswith("req_") for h in got)
    assert got[0]["x-request-id"] != got[1]["x-request-id"]
    assert got[0]["x-content-type-options"] == "nosniff"


@pytest.mark.guards("D25")
def test_without_a_key_only_health_and_pages_answer(accounts: AccountService):
    app = app_of(ScriptedProvider("x"), accounts)
    tried = 0
    for route in app.routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            path = route.path.replace("{model_id:path}", CARD.id)
            got = call(app, method, path, ask() if method == "POST" else None)
            is_open = route.path in OPEN_PATHS
            assert (got.status in (200, 307)) == is_open, (method, path, got.status)
            tried += 1
            if route.path in ("/console/api/login", "/console/api/signup"):
                assert got.status == 400  # this is no password
            elif not is_open:
                assert got.status == 401
                assert got.headers["www-authenticate"] == "Bearer"
                assert got.json["code"] in ("missing_api_key", "no_session")
    assert tried >= 10
    assert {route.path for route in pages() if isinstance(route, Route)} >= {"/console", "/docs"}


def test_a_key_opens_the_api_until_it_is_revoked(accounts: AccountService):
    app = app_of(ScriptedProvider("x"), accounts)
    secret = accounts.create(name="laptop", tier=Tier.FREE).secret
    bearer = f"Bearer {secret}"
    assert call(app, "GET", "/v1/models", authorization=bearer).status == 200
    assert call(app, "POST", "/v1/chat/completions", ask(), authorization=bearer).status == 200
    accounts.revoke("laptop")
    got = call(app, "POST", "/v1/chat/completions", ask(), authorization=bearer)
    assert (got.status, got.json["code"]) == (401, "wrong_api_key")
    assert "Incorrect API key provided" in got.json["message"]


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer ", "hr-123", "", "Bearer\xff"])
def test_other_ways_to_authenticate_are_no_key(accounts: AccountService, value: str):
    got = call(app_of(ScriptedProvider(), accounts), "GET", "/v1/models", authorization=value)
    assert got.status == 401


def test_the_text_is_checked_before_the_key_and_the_key_before_the_rest(accounts: AccountService):
    app = app_of(ScriptedProvider(), accounts)
    assert call(app, "POST", "/v1/chat/completions", b"{").status == 400
    assert chat(app, model="unknown", temperature=9).status == 401


def test_without_accounts_any_key_will_do():
    got = call(app_of(ScriptedProvider()), "GET", "/v1/models", authorization="Bearer whatever")
    assert got.status == 200


def test_preflights_need_no_key_and_mirror_the_asked_headers(accounts: AccountService):
    app = app_of(ScriptedProvider(), accounts)
    asked = "authorization, content-type, x-stainless-lang"
    got = call(
        app,
        "OPTIONS",
        "/v1/chat/completions",
        origin="https://app.example",
        access_control_request_method="POST",
        access_control_request_headers=asked,
    )
    assert got.status == 204
    assert got.headers["access-control-allow-origin"] == "*"
    assert got.headers["access-control-allow-headers"] == asked
    assert "POST" in got.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in got.headers


def test_answers_and_errors_can_be_read_by_other_origins(accounts: AccountService):
    got = call(
        app_of(ScriptedProvider(), accounts), "GET", "/v1/models", origin="https://a.example"
    )
    assert got.status == 401
    assert got.headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in got.headers["access-control-expose-headers"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("path", ["/health/live", "/console", "/docs", "/openapi.json"])
def test_health_and_pages_send_no_cors_headers(accounts: AccountService, path: str, method: str):
    config = Config(home=Path("/nonexistent"))
    app = build_app(ScriptedProvider(), accounts, config, ManualClock(), pages=pages())
    got = call(app, method, path, origin="https://a.example")
    assert got.status == (200 if method == "GET" else 405)
    assert not [name for name in got.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", "/public/v1/models"])
def test_the_settings_say_whose_pages_may_call(accounts: AccountService, path: str):
    app = app_of(ScriptedProvider(), accounts, cors_origins=("https://a.example",))
    for method in ("GET", "OPTIONS"):
        got = call(app, method, path, origin="https://a.example")
        assert got.headers["access-control-allow-origin"] == "https://a.example"
        assert got.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in got.headers
        for other in ("https://b.example", "http://a.example", "https://a.example.evil", "null"):
            got = call(app, method, path, origin=other)
            assert not [name for name in got.headers if name.startswith("access-control")]
    nobody = app_of(ScriptedProvider(), accounts, cors_origins=())
    assert call(nobody, "OPTIONS", path, origin="https://a.example").status == 405


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/tokenize", "/public/v1/models", "/v1/x"])
def test_every_shared_address_answers_a_preflight_without_a_key(
    accounts: AccountService, path: str
):
    got = call(app_of(ScriptedProvider(), accounts), "OPTIONS", path, origin="https://a.example")
    assert (got.status, got.body) == (204, b"")
    assert got.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
def test_without_keys_pages_of_other_sites_stay_out(origin: str):
    provider = ScriptedProvider("x")
    got = call(app_of(provider), "POST", "/v1/chat/completions", ask(), origin=origin)
    assert (got.status, got.json["code"]) == (403, "permission_denied")
    assert "access-control-allow-origin" not in got.headers
    assert provider.requests == []


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:9"])
def test_without_keys_pages_of_this_machine_may_come_in(origin: str):
    got = call(app_of(ScriptedProvider("x")), "POST", "/v1/chat/completions", ask(), origin=origin)
    assert got.status == 200
    assert got.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.evil.example:8000", "10.0.0.1"])
def test_without_keys_other_host_names_stay_out(host: str):
    got = call(app_of(ScriptedProvider()), "GET", "/v1/models", host=host)
    assert (got.status, got.json["param"]) == (403, "host")


@pytest.mark.parametrize("host", ["[::::]", "[1.2:3]:80", "[%]"])
def test_a_host_that_is_no_address_stays_out(host: str):
    assert call(app_of(ScriptedProvider()), "GET", "/v1/models", host=host).status in (400, 403)


@pytest.mark.parametrize("host", ["a b", "evil/..", "x" * 300, "[::1", "a:port", "\u00fc"])
def test_a_malformed_host_is_a_400(accounts: AccountService, host: str):
    got = call(app_of(ScriptedProvider(), accounts), "GET", "/health/live", host=host)
    assert got.status == 400


def test_the_log_has_one_line_a_request_without_prompt_or_key(
    accounts: AccountService, caplog: pytest.LogCaptureFixture
):
    app = app_of(ScriptedProvider("answer-text"), accounts)
    secret = accounts.create(name="laptop", tier=Tier.FREE).secret
    body = ask(messages=[{"role": "user", "content": "prompt-text"}], user="evil\nuser")
    with caplog.at_level(logging.INFO, logger="headrace"):
        got = call(app, "POST", "/v1/chat/completions", body, authorization=f"Bearer {secret}")
        call(app, "GET", "/health/live")
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(f"request id={got.headers['x-request-id']} method=POST")
    assert "status=200" in said
    assert "completion_tokens=1 finish=stop" in said
    assert not any(word in said for word in (secret, secret[10:20], "prompt-text", "answer-text"))


@pytest.mark.guards("D39")
def test_a_path_cannot_forge_a_log_line(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="headrace"):
        call(app_of(ScriptedProvider()), "GET", "/x\nrequest id=forged status=200")
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert 'path="/x\\nrequest id=forged status=200"' in record.getMessage()


def test_our_own_failures_are_logged_with_their_trace(caplog: pytest.LogCaptureFixture):
    got = chat(app_of(ScriptedProvider(ZeroDivisionError("detail"))))
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert got.headers["x-request-id"] in record.getMessage()
    assert record.exc_info is not None


def test_retries_that_would_come_too_early_are_called_off():
    class DailyQuota(QueueFull):
        retry_after_s = 40_000

    got = chat(app_of(ScriptedProvider(DailyQuota("used up"))))
    assert got.headers["retry-after"] == "40000"
    assert got.headers["x-should-retry"] == "false"


def leaves(kind: type[HeadraceError]) -> list[type[HeadraceError]]:
    below = kind.__subclasses__()
    return [kind] if not below else list(itertools.chain.from_iterable(map(leaves, below)))


@pytest.mark.parametrize(
    "kind", [k for k in leaves(HeadraceError) if k.__module__ == "headrace.errors"]
)
def test_every_error_has_a_status_of_its_family(kind: type[HeadraceError]):
    from headrace.api.problems import STATUS, body_of, status_of

    arguments: dict[str, tuple[Any, ...]] = {
        "ContextTooLong": (5, 4),
        "OutOfSram": ("what happened", 5),
        "MissingKey": (),
        "NoSession": (),
        "UnknownModel": ("m",),
        "MethodNotAllowed": ("POST",),
    }
    limit = {"bucket": "requests per day", "whose": "key", "unit": "requests", "wait_s": 0.5}
    if kind.__name__ == "RateLimited":
        error: HeadraceError = RateLimited(limit=2, used=2, requested=1, **limit)
    else:
        error = kind(*arguments.get(kind.__name__, ("what happened",)))
    nearest = next(k for k in kind.__mro__ if k in STATUS)
    assert nearest is not HeadraceError, f"{kind.__name__} has no row in problems.STATUS"
    assert 400 <= status_of(error) < 600
    body = body_of(error, "req_1")
    assert all(isinstance(body["error"][k], str) for k in ("message", "type", "param", "code"))
