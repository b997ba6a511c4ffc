"""The document at /openapi.json, held to the routes and to what the server answers."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from starlette.routing import Route

from headrace.api import App, build_app, usage_export
from headrace.api.openapi import OPERATIONS, document
from headrace.api.organisation_openapi import ORGANISATION_OPERATIONS
from headrace.backends.null import NullBackend
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.engine import Engine, EngineClient
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import bundled_model, open_model
from tests.api.exchange import Exchange, app_of, call
from tests.scripted import ScriptedProvider
from tests.threaded import threaded

MODEL = open_model(bundled_model())
PUBLIC = set(OPERATIONS) - set(ORGANISATION_OPERATIONS) - {usage_export.PATH}
ERRORS = ("message", "type", "param", "code")


def test_the_document_has_the_routes_and_the_routes_only(accounts: Any) -> None:
    routes = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in app_of(ScriptedProvider(), accounts).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(path, method) for path, methods in OPERATIONS.items() for method in methods}
    assert described == routes


def test_the_document_is_served_without_a_key_and_is_valid(accounts: Any) -> None:
    got = call(app_of(ScriptedProvider(), accounts), "GET", "/openapi.json")
    assert got.json == json.loads(json.dumps(document()))
    schemas = got.json["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    pieces = json.dumps(got.json).split('"#/components/schemas/')[1:]
    named = {piece.partition('"')[0] for piece in pieces}
    assert named <= set(schemas)
    bodies = got.json["paths"]["/v1/completions"]["post"]["requestBody"]["content"]
    assert set(bodies) == {
        "application/json",
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.msgpack",
    }
    assert schemas["CompletionRequest"]["required"] == ["model", "prompt"]


class Service:
    """A whole server but for its sockets: the bundled model on the null backend."""

    def __init__(self, home: Path) -> None:
        engine = Engine(
            NullBackend(MODEL.program, num_blocks=32),
            SystemClock(),
            max_sequences=8,
            max_step_tokens=64,
            max_waiting=256,
        )
        client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1, 2, 3))
        self.provider = LocalProvider({MODEL.name: LocalModel(MODEL, client)})
        self.app: App = build_app(self.provider, None, Config(home=home), SystemClock())
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.run(self.provider.start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def send(self, method: str, path: str, body: Any, kind: str) -> Exchange:
        raw = body if body is None or isinstance(body, bytes) else encoded(body, kind)
        headers = {"content-type": kind} if kind else {}
        return self.run(Exchange(self.app, method, path, raw, headers).run())

    def close(self) -> None:
        self.run(self.provider.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def encoded(body: Any, kind: str) -> bytes:
    """Big integers and bytes inside are no msgpack, and no JSON: what a client would do."""
    if "msgpack" in kind:
        with suppress(OverflowError):
            return msgspec.msgpack.encode(body)
    return json.dumps(body, default=repr).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("home"))
    yield running
    running.close()


def cases(paths: Collection[str]) -> st.SearchStrategy[Any]:
    """Requests to some addresses as the document has them, and as it has them not."""
    described = document() | {"paths": {path: document()["paths"][path] for path in paths}}
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(described)))
    strategies: list[st.SearchStrategy[Any]] = []
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue]
        for mode in schemathesis.GenerationMode:
            if mode.is_positive or operation.body:
                weight = 4 if operation.body else 1
                strategies += [operation.as_strategy(generation_mode=mode)] * weight
    return st.one_of(strategies)


def check(service: Service, case: Any, is_known: bool) -> tuple[str, int]:
    """No 5xx, no status and no body that the document does not have. Its address and status."""
    body = None if isinstance(case.body, NotSet) else case.body
    if is_known and isinstance(body, dict) and "model" in body:
        body = body | {"model": MODEL.name}  # no generator guesses it
    path = case.formatted_path
    if is_known:
        path = case.path.replace("{model_id}", MODEL.name)
    got = service.send(case.method, with_query(path, case), body, case.media_type or "")
    check_answer(case, got)
    return case.path, got.status


def with_query(path: str, case: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in (case.query or {}).items())
    return f"{path}?{query}" if query else path


def check_answer(case: Any, got: Exchange) -> None:
    told = document()["paths"][case.path][case.method.lower()]["responses"]
    assert got.status < 500, got.body
    assert str(got.status) in told, (got.status, got.body)
    content = told[str(got.status)]["content"]
    media_type = got.headers.get("content-type", "").partition(";")[0]
    assert media_type in content or not (content or got.body), media_type
    if media_type == "application/json":
        validate(got.json, content[media_type]["schema"])
        if got.status >= 400:
            assert got.json["error"] == {name: got.json[name] for name in ERRORS}
    elif media_type == "text/event-stream":
        assert all("error" not in event for event in got.events)
        assert got.body.endswith(b"data: [DONE]\n\n")


def validate(answer: Any, schema: Any) -> None:
    whole = {**schema, "components": document()["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(answer)


def drive(service: Service, count: int) -> None:
    seen = Counter[tuple[str, int]]()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=cases(PUBLIC), is_known=st.sampled_from([True, True, True, False]))
    def each(case: Any, is_known: bool) -> None:
        seen[check(service, case, is_known)] += 1

    each()
    print(seen)
    assert seen.total() >= count * 0.9
    answered = {path for path, status in seen if status < 400}
    assert answered == PUBLIC, "each of them was asked rightly at least once"


def test_generated_requests_get_documented_answers(service: Service) -> None:
    drive(service, 500)


@pytest.mark.full
@pytest.mark.timeout(1_800)
def test_thousands_of_generated_requests_get_documented_answers(service: Service) -> None:
    drive(service, 5_000)
