"""Every address of the API refuses in the same way: walked over what /openapi.json lists.

The routes come from the document, which a test holds to the application's: a new one that takes a
body must be given a good one here, and is walked from then on.
"""

import asyncio
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from headrace.accounts import AccountService, Tier
from headrace.api import App
from headrace.api.openapi import document
from headrace.backends.null import NullBackend
from tests.api.exchange import Exchange, app_of, call
from tests.gateway.test_local import MODEL, provider
from tests.scripted import CARD, ScriptedProvider

PATHS: dict[str, dict[str, Any]] = document()["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]
MAX_BODY = 50_000
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": CARD.id, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": CARD.id, "prompt": "hi"},
    "/v1/tokenize": {"model": CARD.id, "prompt": "hi"},
    "/v1/detokenize": {"model": CARD.id, "tokens": [104, 105]},
}
with_body = pytest.mark.parametrize("path", [p for p, m in PATHS.items() if "post" in m])
each = pytest.mark.parametrize(("path", "method"), OPERATIONS)


class Caller:
    """Somebody with a key at a server that asks for one."""

    def __init__(self, accounts: AccountService) -> None:
        self.provider = ScriptedProvider("x")
        self.app: App = app_of(self.provider, accounts, max_body_bytes=MAX_BODY)
        self.key = f"Bearer {accounts.create(name='k', tier=Tier.FREE).secret}"

    def send(
        self,
        path: str,
        method: str = "post",
        body: Any = None,
        *,
        key: str | None = None,
        **headers: str,
    ) -> Exchange:
        """`key` None: a good one; "": none."""
        key = self.key if key is None else key
        given = headers | ({"authorization": key} if key else {})
        return call(self.app, method.upper(), address(path), body, **given)


@pytest.fixture
def caller(accounts: AccountService) -> Caller:
    return Caller(accounts)


def address(path: str, model: str = CARD.id) -> str:
    return path.replace("{model_id}", model)


def check(got: Exchange, path: str, method: str, status: int, code: str) -> None:
    """`got` refuses as every route does, and as the document says this one may."""
    assert (got.status, got.json["code"]) == (status, code), got.json
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-request-id"].startswith("req_")
    fields = {name: got.json[name] for name in ("message", "type", "param", "code")}
    assert got.json == {**fields, "error": fields}
    assert all(isinstance(value, str) for value in fields.values())
    assert fields["message"]
    assert fields["type"]
    assert fields["param"]
    assert ("www-authenticate" in got.headers) == (status == 401)
    responses = PATHS[path].get(method, {}).get("responses", {"405": None})
    assert str(status) in responses, f"{method} {path} does not document {status}"


def test_every_route_that_takes_a_body_has_a_good_one(caller: Caller) -> None:
    assert set(GOOD) == {path for path, methods in PATHS.items() if "post" in methods}
    for path, body in GOOD.items():
        assert caller.send(path, body=body).status == 200
        assert caller.send(f"{path}/".replace("/v1/", "//v1//"), body=body).status == 200
        for alias in ("/openai/v1/", "/v1/v1/"):
            assert caller.send(path.replace("/v1/", alias, 1), body=body).status == 200


@each
def test_a_key_is_needed_where_the_document_says_so(path: str, method: str, caller: Caller) -> None:
    body = GOOD.get(path)
    is_keyed = bool(PATHS[path][method]["security"])
    assert is_keyed == path.startswith("/v1/") or path == "/v1/tcp_warming"
    for key, code in (("", "missing_api_key"), ("Bearer hr-wrong", "wrong_api_key")):
        got = caller.send(path, method, body, key=key)
        if is_keyed:
            check(got, path, method, 401, code)
        else:
            assert got.status in (200, 307)
            assert got.headers["x-request-id"]
    assert caller.send(path, method, body).status in (200, 307)


@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_a_405_that_names_the_right_ones(path: str, caller: Caller) -> None:
    right = {method.upper() for method in PATHS[path]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - right:
        got = caller.send(path, method)
        check(got, path, method.lower(), 405, "method_not_allowed")
        assert set(got.headers["allow"].split(", ")) - {"HEAD"} == right


@pytest.mark.parametrize("path", ["/v1/nothing", "/v2/models", "/public/v1", "/v1", "/nothing"])
def test_an_address_of_nothing_is_a_404(path: str, caller: Caller) -> None:
    for method in ("GET", "POST"):
        got = call(caller.app, method, path)
        assert (got.status, got.json["code"], got.json["param"]) == (404, "not_found", "path")
        assert got.headers["x-request-id"].startswith("req_")


@each
def test_a_host_or_a_length_that_is_none_is_refused(path: str, method: str, caller: Caller) -> None:
    got = caller.send(path, method, GOOD.get(path), content_length="many")
    check(got, path, method, 400, got.json["code"])
    got = caller.send(path, method, content_length=str(10 * MAX_BODY))
    check(got, path, method, 413, "request_too_large")


@with_body
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_body_is_refused(path: str, stream: bool, caller: Caller) -> None:
    good = GOOD[path] | ({"stream": True} if stream and "completions" in path else {})
    text = json.dumps(good).encode()
    deep = b'{"model": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    for status, code, body, headers in (
        (400, "invalid_json", b"", {}),
        (400, "invalid_json", text[:-1], {}),
        (400, "wrong_api_format", b"[1, 2]", {}),
        (400, "invalid_json", b'{"model": NaN}', {}),
        (400, "invalid_json", b'{"model": "\xff"}', {}),
        (400, "invalid_json", deep, {}),
        (400, "invalid_json", b"\xc1", {"content_type": "application/msgpack"}),
        (400, "invalid_json", text, {"content_encoding": "gzip"}),
        (413, "request_too_large", text + b" " * MAX_BODY, {}),
        (
            413,
            "request_too_large",
            gzip.compress(text + b" " * MAX_BODY),
            {"content_encoding": "gzip"},
        ),
        (415, "unsupported_media_type", text, {"content_type": "text/html"}),
        (415, "unsupported_media_type", text, {"content_type": "multipart/form-data; boundary=x"}),
        (415, "unsupported_media_type", text, {"content_encoding": "br"}),
    ):
        got = caller.send(path, body=body, **headers)
        check(got, path, "post", status, code)
    assert caller.provider.requests == []


@with_body
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_field_is_refused(path: str, stream: bool, caller: Caller) -> None:
    good = GOOD[path] | ({"stream": True} if stream and "completions" in path else {})
    asked = next(name for name in good if name != "model")
    for status, code, param, body in (
        (404, "model_not_found", "model", good | {"model": "gpt-99"}),
        (404, "model_not_found", "model", good | {"model": "x" * 10_000}),
        (404, "model_not_found", "model", {"model": "gpt-99", "surprise": 1}),
        (400, "wrong_api_format", "model", {name: good[name] for name in good if name != "model"}),
        (400, "wrong_api_format", "model", good | {"model": None}),
        (400, "wrong_api_format", "model", good | {"model": 5}),
        (400, "wrong_api_format", "surprise", good | {"surprise": 1}),
        (400, "wrong_api_format", asked, good | {asked: None}),
        (400, "wrong_api_format", asked, good | {asked: {"a": 1}}),
        (400, "wrong_api_format", "validation_error", {"model": 5, "surprise": 1}),
    ):
        got = caller.send(path, body=body)
        check(got, path, "post", status, code)
        assert got.json["param"] == param
        assert got.json["message"] == "".join(
            c for c in got.json["message"] if c >= " " or c == "\n"
        )
        assert len(got.json["message"]) < 2_000
    assert caller.provider.requests == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_names_the_field_it_came_in(path: str, stream: bool) -> None:
    field = next(name for name in GOOD[path] if name != "model")
    long = "word " * 500
    said = {"messages": [{"role": "user", "content": long}], "prompt": long}[field]
    body = {"model": "mini", field: said, "stream": stream}

    async def exchange() -> Exchange:
        backend = NullBackend(MODEL.program, num_blocks=16)
        async with provider(backend, model=replace(MODEL, name="mini")) as running:
            return await Exchange(app_of(running), "POST", path, body).run()

    got = asyncio.run(exchange())
    check(got, path, "post", 400, "context_length_exceeded")
    assert got.json["param"] == field


@each
def test_a_model_or_form_that_is_none_is_refused(path: str, method: str, caller: Caller) -> None:
    names = [parameter["name"] for parameter in PATHS[path][method].get("parameters", ())]
    if "model_id" in names:
        got = call(caller.app, "GET", address(path, "no/such"), authorization=caller.key)
        check(got, path, method, 404, "model_not_found")
    if "format" in names:
        got = caller.send(path + "?format=wide", method)
        check(got, path, method, 400, "wrong_api_format")
        assert got.json["param"] == "format"
