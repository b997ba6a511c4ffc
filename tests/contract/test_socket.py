"""What no well-behaved client sends, over a real socket."""

import json
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from headrace.api import protocol
from tests.conftest import Serve
from tests.scripted import CARD, ScriptedProvider

BODY = json.dumps({"model": CARD.id, "messages": [{"role": "user", "content": "hi"}]}).encode()
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
)


class Wire:
    """A bare connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = socket.create_connection((parts.hostname, parts.port or 80))
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def flood(self, piece: bytes, times: int) -> None:
        """Send until done, or until the server has had enough."""
        try:
            for _ in range(times):
                self.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def status(self) -> int:
        return int(self._file.readline().split()[1])

    def answer(self) -> tuple[int, Any]:
        status, length = self.status(), 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, json.loads(self._file.read(length))

    def is_closed(self) -> bool:
        """Reads to the end of the connection."""
        try:
            while self._file.read(65_536):
                pass
        except ConnectionResetError:
            pass
        return True


def test_a_50_mb_body_is_a_413_that_the_client_can_read(serve: Serve):
    url = serve(ScriptedProvider("x"))
    content = b'{"messages": "' + b"x" * 50_000_000 + b'"}'
    with httpx.Client() as api:
        got = api.post(
            f"{url}/v1/chat/completions",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert got.status_code == 413
        assert "larger than 8388608 bytes" in got.json()["message"]
        assert api.get(f"{url}/health/live").status_code == 200


def test_a_length_of_10_gb_is_refused_before_a_byte_is_sent(serve: Serve):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(HEAD + b"content-length: 10000000000\r\n\r\n")
        assert wire.answer()[0] == 413


def test_an_endless_chunked_body_is_refused_and_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "LINGER_BYTES", 1 << 20)
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        wire.flood(b"10000\r\n" + b"x" * 65_536 + b"\r\n", 600)
        with suppress(ConnectionResetError, IndexError):  # cut while it still wrote
            assert wire.status() == 413
        assert wire.is_closed()


def test_expect_100_continue_is_answered(serve: Serve):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
        assert wire._file.readline() == b"HTTP/1.1 100 Continue\r\n"
        wire._file.readline()
        wire.send(BODY)
        assert wire.answer()[0] == 200


def test_a_chunked_body_is_read(serve: Serve):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for n in range(len(BODY)):
            wire.send(b"1\r\n" + BODY[n : n + 1] + b"\r\n")
        wire.send(b"0\r\n\r\n")
        assert wire.answer()[0] == 200


@pytest.mark.parametrize(
    "bomb",
    [
        b"x-bomb: " + b"a" * 10_000_000,
        b"".join(b"x-%d: y\r\n" % n for n in range(20_000)),
        b"cookie: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
    ids=["one header", "many headers", "one finished header"],
)
def test_a_header_bomb_is_a_400(serve: Serve, bomb: bytes):
    url = serve(ScriptedProvider("x"))
    with Wire(url) as wire:
        wire.flood(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + bomb, 1)
        with suppress(ConnectionResetError, IndexError):  # closed while it still wrote
            assert wire.status() == 400
        assert wire.is_closed()
    assert httpx.get(f"{url}/health/live").status_code == 200


def test_headers_within_the_limit_pass(serve: Serve):
    url = serve(ScriptedProvider("x"))
    assert httpx.get(f"{url}/v1/models", headers={"x-a": "a" * 60_000}).status_code == 200


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00", b"HELO\r\n\r\n", b"GET\x00/ HTTP/9\r\n\r\n"]
)
def test_what_is_not_http_is_a_400_with_the_usual_body(serve: Serve, junk: bytes):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(junk)
        status, body = wire.answer()
        assert status == 400
        assert body["error"]["type"] == "invalid_request_error"


def test_a_client_that_never_finishes_its_headers_is_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "HEADER_DEADLINE_S", 0.05)
    url = serve(ScriptedProvider("x"))
    with Wire(url) as idle, Wire(url) as slow:
        slow.send(b"GET /v1/models HTT")
        assert slow.is_closed()
        assert idle.is_closed()


def test_a_refused_body_that_never_ends_is_dropped(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "LINGER_S", 0.05)
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(HEAD + b"content-length: 10000000000\r\n\r\n")
        assert wire.answer()[0] == 413
        assert wire.is_closed()


def test_a_large_body_is_read_and_its_connection_goes_on(serve: Serve):
    body = {"model": CARD.id, "messages": [{"role": "user", "content": "x" * 3_000_000}]}
    url = serve(ScriptedProvider("x"))
    with httpx.Client() as api:
        for _ in range(3):
            assert api.post(f"{url}/v1/chat/completions", json=body).status_code == 200


def test_requests_in_one_packet_are_answered_in_order(serve: Serve):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        wire.send(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 2_000)
        for _ in range(2_000):
            assert wire.answer() == (200, {"status": "live"})


def test_10_000_requests_on_one_connection_are_answered(serve: Serve):
    with Wire(serve(ScriptedProvider("x"))) as wire:
        for _ in range(100):
            wire.send(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 100)
            for _ in range(100):
                assert wire.answer()[0] == 200


def test_forwarding_headers_of_strangers_change_nothing(serve: Serve):
    url = serve(ScriptedProvider("x"))
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host"):
        assert httpx.get(f"{url}/v1/models", headers={name: "evil.example"}).status_code == 200


def test_the_server_does_not_name_its_software(serve: Serve):
    assert "server" not in httpx.get(f"{serve(ScriptedProvider())}/health/live").headers
