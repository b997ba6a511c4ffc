"""Bodies as clients may send them: JSON or msgpack, plain or gzipped, and what is refused of it."""

import gzip
import json
import math
import struct
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.api.strict_msgpack import decode_msgpack
from headrace.errors import InvalidJson
from tests.api.exchange import Exchange, app_of, ask, call
from tests.scripted import ScriptedProvider

CHAT = "/v1/chat/completions"
MSGPACK = ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack; v=1"]
pack = msgspec.msgpack.encode


def post(body: bytes, path: str = CHAT, **headers: str) -> Exchange:
    return call(
        app_of(ScriptedProvider("x"), max_body_bytes=100_000), "POST", path, body, **headers
    )


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/plain; charset=utf-8"])
def test_json_may_call_itself_text(kind: str):
    assert post(json.dumps(ask()).encode(), content_type=kind).status == 200


@pytest.mark.parametrize("kind", MSGPACK)
def test_msgpack_is_read_under_its_three_names(kind: str):
    got = post(pack(ask()), content_type=kind)
    assert got.status == 200, got.json
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("kind", ["application/json", MSGPACK[0]])
def test_either_may_be_compressed(kind: str, encoding: str):
    plain = pack(ask()) if kind in MSGPACK else json.dumps(ask()).encode()
    got = post(gzip.compress(plain), content_type=kind, content_encoding=encoding)
    assert got.status == 200, got.json


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_415_with_the_way_out(encoding: str):
    got = post(b"{}", content_encoding=encoding)
    assert (got.status, got.json["param"]) == (415, "content_encoding")
    assert "gzip" in got.json["message"]


@pytest.mark.guards("D02")
def test_a_body_that_expands_over_the_limit_is_a_413():
    bomb = gzip.compress(b'{"a": "' + b"x" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    tracemalloc.start()
    got = post(bomb, content_encoding="gzip")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (got.status, got.json["code"]) == (413, "request_too_large")
    assert peak_bytes < 10_000_000, "it was expanded, and then found too large"
    just = gzip.compress(b'{"a": "' + b"x" * 99_991 + b'"}')
    assert post(just, content_encoding="gzip").status == 400  # read, and has no messages


GOOD = gzip.compress(b"{}")


@pytest.mark.parametrize(
    "body", [b"{}", b"", GOOD[:-1], GOOD[:5], GOOD + b"x", GOOD + GOOD, b"\x1f\x8b" + b"\0" * 50]
)
def test_what_is_no_gzip_is_a_400(body: bytes):
    got = post(body, content_encoding="gzip", content_type="application/json")
    assert (got.status, got.json["code"]) == (400, "invalid_json")
    assert "not valid gzip" in got.json["message"]


def nested(depth: int, core: bytes) -> bytes:
    return b"\x91" * depth + core


@pytest.mark.guards("D05")
@pytest.mark.guards("D06")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"\x81\xa1a", "ends too early"),
        (b"\x81\xa5ab", "ends too early"),
        (b"\xdd\xff\xff\xff\xff", "more than 100000 values"),
        (b"\xdf\xff\xff\xff\xff", "more than 100000 values"),
        (b"\xdd\x00\x01\x00\x00", "ends too early"),
        (b"\xdb\xff\xff\xff\xff", "ends too early"),
        (b"\x81\xa1a" + nested(90_000, b"\x01"), "deeper than 64"),
        (nested(65, b"\x01"), "deeper than 64"),
        (nested(64, b"\x90"), "deeper than 64"),
        (b"\x81\xa1a\xca" + struct.pack(">f", math.nan), "out of range"),
        (b"\x81\xa1a\xcb" + struct.pack(">d", math.inf), "out of range"),
        (b"\x81\xa1a\xcb" + struct.pack(">d", -math.inf), "out of range"),
        (b"\x81\xa1a\xa1\xff", "not valid UTF-8"),
        (b"\x81\x01\x01", "a key is not a text"),
        (b"\x81\xa1a\xd4\x01\x01", "type 0xd4"),
        (b"\x81\xa1a\xc1", "type 0xc1"),
        (b"\x80\x80", "something follows"),
        (pack([1] * 99_990 + [[1] * 20]), "more than 100000 values"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_what_msgpack_may_not_be_is_a_400(body: bytes, said: str):
    app = app_of(ScriptedProvider("x"))
    got = call(app, "POST", CHAT, body, content_type=MSGPACK[0])
    assert (got.status, got.json["code"]) == (400, "invalid_json")
    assert said in got.json["message"]


@pytest.mark.parametrize("body", [b"\x93\x01\x02\x03", b"\x05", b"\xc0", b"\xa1a"])
def test_msgpack_that_is_no_object_is_refused(body: bytes):
    got = post(body, content_type=MSGPACK[0])
    assert got.status == 400
    assert "must be a JSON object" in got.json["message"]


def test_token_ids_may_come_as_msgpack():
    body = pack({"model": ask()["model"], "prompt": list(range(20_000))})
    provider = ScriptedProvider("x")
    got = call(app_of(provider), "POST", "/v1/completions", body, content_type=MSGPACK[0])
    assert got.status == 200, got.json
    assert provider.requests[0].prompt == tuple(range(20_000))


SCALARS = (
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.integers(-(1 << 63), (1 << 64) - 1)
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)


def decode(body: bytes) -> object:
    return decode_msgpack(body, max_depth=64, max_values=10_000)


@given(VALUES)
def test_what_another_library_wrote_is_read_as_it_was(value: Any):
    assert decode(pack(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_refusal(body: bytes):
    try:
        value = decode(body)
    except InvalidJson:
        return
    json.dumps(value, allow_nan=False)


@given(st.lists(st.integers(0, 1 << 20)), st.sampled_from(["B", "H", "I"]))
def test_lengths_may_be_written_longer_than_they_need(ids: list[int], form: str):
    head = {"H": b"\xdc", "I": b"\xdd"}.get(form)
    if head is None:
        return
    body = head + struct.pack(">" + form, len(ids)) + b"".join(map(pack, ids))
    assert decode(body) == ids


def test_binary_strings_are_text():
    assert decode(b"\x81\xc4\x01a\xc4\x02hi") == {"a": "hi"}
    assert decode(b"\x81\xd9\x01a\xc5\x00\x02hi") == {"a": "hi"}
