"""From where a request came: whose word is taken."""

import asyncio
from typing import Any

import pytest

from headrace.api.peer import Peer


def state_of(
    peer: str, headers: dict[str, str], trusted: tuple[str, ...] = ("10.0.0.0/8",)
) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "client": (peer, 1),
        "scheme": "http",
        "state": {},
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        """Only the scope counts."""

    async def nothing(*_: Any) -> Any:
        """Nothing arrives, and nothing is sent."""

    asyncio.run(Peer(inner, trusted=trusted)(scope, nothing, nothing))
    return scope["state"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "1.2.3.4"},
        {"forwarded": "for=1.2.3.4"},
        {"x-real-ip": "1.2.3.4"},
        {"x-forwarded-proto": "https"},
    ],
)
def test_the_word_of_an_unlisted_peer_is_ignored(headers: dict[str, str]):
    state = state_of("192.0.2.1", headers)
    assert state == {"address": "192.0.2.1", "is_secure": False}
    assert state_of("10.0.0.1", headers, trusted=())["address"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("1.2.3.4, rubbish", "10.0.0.1"),
        ("rubbish, 10.9.9.9", "10.9.9.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("", "10.0.0.1"),
    ],
)
def test_a_listed_proxy_names_the_last_address_that_is_none(chain: str, address: str):
    assert state_of("10.0.0.1", {"x-forwarded-for": chain})["address"] == address


def test_a_listed_proxy_says_whether_there_is_tls():
    assert state_of("10.0.0.1", {"x-forwarded-proto": "https"})["is_secure"]
    assert not state_of("10.0.0.1", {})["is_secure"]


def test_a_peer_without_an_address_is_no_proxy():
    assert state_of("", {"x-forwarded-for": "1.2.3.4"})["address"] == ""
