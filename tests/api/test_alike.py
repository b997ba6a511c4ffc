"""What is the same on every route that completes something: errors, usage, headers."""

from typing import Any

import pytest
from starlette.routing import Route

from headrace.accounts import AccountService, Tier
from headrace.api.generation import Generation
from headrace.errors import ContextTooLong, DeadlineExceeded, QueueFull, QueueSlow
from tests.api.exchange import Exchange, app_of, call
from tests.scripted import CARD, ScriptedProvider

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}
each_route = pytest.mark.parametrize("path", ROUTES)
each_way = pytest.mark.parametrize("stream", [False, True])


def post(
    provider: ScriptedProvider, path: str, accounts: Any = None, key: str = "", **fields: Any
) -> Exchange:
    body = {"model": CARD.id, **ROUTES[path], **fields}
    app = app_of(provider, accounts, max_body_bytes=50_000)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return call(app, "POST", path, body, **headers)


def test_every_generation_route_is_here():
    app = app_of(ScriptedProvider())
    found = {
        route.path
        for route in app.routes
        if isinstance(route, Route) and isinstance(route.endpoint, Generation)
    }
    assert found == set(ROUTES)


@each_route
@each_way
def test_refusals_look_the_same(path: str, stream: bool, accounts: AccountService):
    key = accounts.create(name="k", tier=Tier.FREE).secret
    provider = ScriptedProvider("x")
    app = app_of(provider, accounts, max_body_bytes=50_000)
    bearer = {"authorization": f"Bearer {key}"}
    good = {"model": CARD.id, **ROUTES[path], "stream": stream}
    for status, code, body, headers in (
        (400, "wrong_api_format", good | {"temperature": 9}, bearer),
        (400, "wrong_api_format", good | {"surprise": 1}, bearer),
        (400, "invalid_json", b'{"model": NaN}', bearer),
        (401, "missing_api_key", good, {}),
        (401, "wrong_api_key", good, {"authorization": "Bearer hr-wrong"}),
        (403, "permission_denied", good | {"service_tier": "priority"}, bearer),
        (404, "model_not_found", good | {"model": "gpt-99"}, bearer),
        (413, "request_too_large", good | {"user": "u" * 60_000}, bearer),
        (415, "unsupported_media_type", good, bearer | {"content_type": "text/html"}),
    ):
        got = call(app, "POST", path, body, **headers)
        assert (got.status, got.json["code"]) == (status, code)
        assert got.headers["content-type"] == "application/json"
        assert got.headers["x-request-id"].startswith("req_")
        fields = {name: got.json[name] for name in ("message", "type", "param", "code")}
        assert fields == got.json["error"]
        assert all(isinstance(value, str) for value in fields.values())
        assert ("www-authenticate" in got.headers) == (status == 401)
    assert provider.requests == []


@each_route
@each_way
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextTooLong(9, 8), 400),
        (DeadlineExceeded("late"), 408),
        (QueueSlow("slow"), 429),
        (QueueFull("full"), 503),
        (ZeroDivisionError("secret"), 500),
    ],
)
def test_a_providers_errors_look_the_same(path: str, stream: bool, error: Exception, status: int):
    got = post(ScriptedProvider(error), path, stream=stream)
    assert got.status == status
    assert got.json["error"]["message"] == got.json["message"]
    assert ("retry-after" in got.headers) == (status in (429, 503))
    assert b"secret" not in got.body


@each_route
@pytest.mark.parametrize(
    ("options", "count"), [(None, 1), ({"include_usage": True}, 1), ({"include_usage": False}, 0)]
)
def test_usage_and_times_come_once_and_are_those_of_the_whole_answer(
    path: str, options: Any, count: int
):
    provider = ScriptedProvider("a", "b")
    whole = post(provider, path)
    streamed = post(provider, path, stream=True, stream_options=options)
    told = [event for event in streamed.events if event.get("usage")]
    assert len(told) == count
    for event in told:
        assert event["usage"] == whole.json["usage"]
        assert event["time_info"] == whole.json["time_info"]
    if options and options["include_usage"]:
        assert told[0]["choices"] == []
        assert all(event["usage"] is None for event in streamed.events[:-1])
    assert streamed.body.endswith(b"data: [DONE]\n\n")


@each_route
@each_way
def test_answers_have_the_same_headers(path: str, stream: bool):
    got = post(ScriptedProvider("a"), path, stream=stream, store=True)
    assert got.headers["x-ignored-params"] == "store"
    assert got.headers["x-request-id"].startswith("req_")
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    assert got.headers["content-type"] == kind


@each_route
def test_a_turn_may_be_kept_from_ending(path: str):
    provider = ScriptedProvider("a")
    assert post(provider, path, ignore_eos=True).status == 200
    assert post(provider, path, ignore_eos=False).status == 200
    assert [request.min_tokens for request in provider.requests] == [None, 0]


@each_route
@each_way
def test_the_tier_is_echoed(path: str, stream: bool):
    got = post(ScriptedProvider("a"), path, stream=stream, service_tier="flex")
    for answer in got.events if stream else [got.json]:
        assert answer["service_tier"] == "flex"
