"""From where an exchange came: the peer's address, or what a listed proxy says of its own."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.api.headers import header


class Peer:
    """Notes `scope["state"]["address"]`, and in `["is_secure"]` whether the client uses TLS.

    `X-Forwarded-For` and `X-Forwarded-Proto` count when the peer is a proxy of the settings: the
    caller is the last address in the chain that is no such proxy. `Forwarded` and `X-Real-IP` are
    not read.
    """

    def __init__(self, app: ASGIApp, *, trusted: Sequence[str]) -> None:
        """`trusted`: networks, "10.0.0.0/8"."""
        self._app = app
        self._trusted = tuple(ip_network(network) for network in trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on."""
        if scope["type"] == "http":
            peer = scope["client"][0] if scope.get("client") else ""
            address, is_secure = peer, scope.get("scheme") == "https"
            if self._trusted and self._is_proxy(peer):
                address = self._behind(peer, header(scope, b"x-forwarded-for") or "")
                is_secure = (header(scope, b"x-forwarded-proto") or "").strip() == "https"
            scope["state"].update(address=address, is_secure=is_secure)
        await self._app(scope, receive, send)

    def _behind(self, peer: str, chain: str) -> str:
        for hop in reversed([hop.strip() for hop in chain.split(",")]):
            if not _is_address(hop):
                break
            peer = hop
            if not self._is_proxy(hop):
                break
        return peer

    def _is_proxy(self, address: str) -> bool:
        if not _is_address(address):
            return False
        known = ip_address(address)
        return any(known in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
