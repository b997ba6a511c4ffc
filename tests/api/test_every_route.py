"""Every address of the API refuses in the same way: walked over what /openapi.json lists.

The routes come from the document, which a test holds to the application's: a new one that takes a
body must be given a good one here, and is walked from then on.
"""

import asyncio
import gzip
import json
from dataclasses import replace

import pytest

from headrace.accounts import AccountService
from headrace.backends.null import NullBackend
from tests.api.exchange import Exchange, app_of, call
from tests.api.managed import MAX_BODY, PATHS, World
from tests.gateway.test_local import MODEL, provider

OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]
WITH_BODY = [path for path, methods in PATHS.items() if "requestBody" in methods.get("post", {})]
OF_MODELS = [path for path in WITH_BODY if PATHS[path]["post"]["security"] == [{"key": []}]]
with_body = pytest.mark.parametrize("path", WITH_BODY)
each = pytest.mark.parametrize(("path", "method"), OPERATIONS)


@pytest.fixture
def world(accounts: AccountService) -> World:
    return World(accounts)


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


def test_every_route_that_takes_a_body_has_a_good_one(world: World) -> None:
    assert {path for path in PATHS if world.good_body(path)} == set(WITH_BODY)
    for path in WITH_BODY:
        assert world.send(path, body=world.good_body(path)).status == 200, path


@pytest.mark.parametrize("path", OF_MODELS)
def test_a_route_of_models_answers_under_other_vendors_addresses(path: str, world: World) -> None:
    body, key = world.good_body(path), world.credentials(path, "post")
    assert world.send(f"{path}/".replace("/v1/", "//v1//"), body=body).status == 200
    for alias in ("/openai/v1/", "/v1/v1/"):
        assert world.send(path.replace("/v1/", alias, 1), body=body, as_=key).status == 200


@pytest.mark.guards("D25")
@each
def test_a_key_is_needed_where_the_document_says_so(path: str, method: str, world: World) -> None:
    body = world.good_body(path) if method == "post" else None
    ways = {way for each in PATHS[path][method]["security"] for way in each}
    if path.startswith("/v1/"):
        assert ("key" in ways) == (path != "/v1/tcp_warming")
    for wrong, code in (
        ({}, "no_session" if "session" in ways else "missing_api_key"),
        ({"authorization": "Bearer hr-wrong"}, "wrong_api_key" if "key" in ways else "no_session"),
        ({"cookie": "headrace_session=wrong"}, "no_session"),
    ):
        got = world.send(path, method, body, as_=wrong)
        if not ways:
            assert got.status in (200, 307, 403)
            assert got.headers["x-request-id"]
        elif "cookie" not in wrong or "session" in ways:
            check(got, path, method, 401, code)
        else:
            check(got, path, method, 401, "missing_api_key")
    assert world.send(path, method, body).status in (200, 307) or path.endswith("/signup")


@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_a_405_that_names_the_right_ones(path: str, world: World) -> None:
    right = {method.upper() for method in PATHS[path]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - right:
        got = world.send(path, method)
        check(got, path, method.lower(), 405, "method_not_allowed")
        assert set(got.headers["allow"].split(", ")) - {"HEAD"} == right


@pytest.mark.parametrize("path", ["/v1/nothing", "/v2/models", "/public/v1", "/v1", "/nothing"])
def test_an_address_of_nothing_is_a_404(path: str, world: World) -> None:
    for method in ("GET", "POST"):
        got = call(world.app, method, path)
        assert (got.status, got.json["code"], got.json["param"]) == (404, "not_found", "path")
        assert got.headers["x-request-id"].startswith("req_")


@each
def test_a_host_or_a_length_that_is_none_is_refused(path: str, method: str, world: World) -> None:
    got = world.send(path, method, world.good_body(path), content_length="many")
    check(got, path, method, 400, got.json["code"])
    got = world.send(path, method, content_length=str(10 * MAX_BODY))
    check(got, path, method, 413, "request_too_large")


@with_body
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_body_is_refused(path: str, stream: bool, world: World) -> None:
    good = world.good_body(path) | ({"stream": True} if stream and "completions" in path else {})
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
        got = world.send(path, body=body, as_=world.credentials(path, "post") | headers)
        check(got, path, "post", status, code)
    assert world.provider.requests == []


@pytest.mark.parametrize("path", OF_MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_field_is_refused(path: str, stream: bool, world: World) -> None:
    good = world.good_body(path) | ({"stream": True} if stream and "completions" in path else {})
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
        got = world.send(path, body=body)
        check(got, path, "post", status, code)
        assert got.json["param"] == param
        assert got.json["message"] == "".join(
            c for c in got.json["message"] if c >= " " or c == "\n"
        )
        assert len(got.json["message"]) < 2_000
    assert world.provider.requests == []


@pytest.mark.parametrize("path", [path for path in WITH_BODY if path not in OF_MODELS])
def test_a_bad_field_of_what_manages_accounts_is_refused(path: str, world: World) -> None:
    good = world.good_body(path)
    asked = next(iter(good))
    for param, body in (
        ("surprise", good | {"surprise": 1}),
        (asked, good | {asked: [[]]}),
        (asked, good | {asked: "x" * 5_000}),
    ):
        got = world.send(path, body=body)
        check(got, path, "post", 400, "wrong_api_format")
        assert got.json["param"] == param
        assert len(got.json["message"]) < 2_000


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_names_the_field_it_came_in(path: str, stream: bool) -> None:
    field = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}[path]
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
def test_a_model_or_form_that_is_none_is_refused(path: str, method: str, world: World) -> None:
    names = [parameter["name"] for parameter in PATHS[path][method].get("parameters", ())]
    if "model_id" in names:
        world.ids["model_id"] = "no/such"
        got = world.send(path, method)
        check(got, path, method, 404, "model_not_found")
    if "format" in names:
        got = world.send(path + "?format=wide", method)
        check(got, path, method, 400, "wrong_api_format")
        assert got.json["param"] == "format"
