"""What happens to every exchange, one concern a class; `app.build_app` has their order."""

import re
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.connection import HungUp
from headrace.api.headers import header
from headrace.api.limit_headers import HEADER_NAMES
from headrace.api.problems import send_problem
from headrace.config import LOOPBACK_HOSTS
from headrace.errors import Forbidden, HeadraceError, InvalidRequest, RequestTooLarge

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%]{2,64}\])(?::[0-9]{1,5})?", re.ASCII)
_SHARED = ("/v1/", "/public/")  # what other origins may call
_OWN = "/v1/organization/"  # but for this
_EXPOSED = ", ".join(
    (
        "x-request-id",
        "retry-after",
        "x-should-retry",
        "x-ignored-params",
        "idempotent-replayed",
        *HEADER_NAMES,
    )
)


class CleanPath:
    """Reads `//` as `/`, forgets a trailing slash, and knows the other vendors' prefixes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on under its plain path."""
        if scope["type"] == "http":
            path = re.sub("/{2,}", "/", scope["path"])
            path = path if path == "/" else path.removesuffix("/")
            for alias in ("/openai/v1", "/v1/v1"):
                if path == alias or path.startswith(alias + "/"):
                    path = "/v1" + path[len(alias) :]
                    break
            scope["path"] = path
        await self._app(scope, receive, send)


class RequestId:
    """Gives every exchange an id of ours, and says it in `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on with `scope["state"]["request_id"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {}).update(request_id=request_id, log={})

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, send_named)


class Cors:
    """Lets browsers' scripts of other origins call /v1 and /public, never with credentials.

    What manages accounts is not theirs to call.

    With keys those of the settings may, as a rule all: the key decides. Without keys only pages of
    this machine may.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str], local_only: bool) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or add the headers to the answer."""
        is_ours = scope["type"] == "http" and _is_shared(scope["path"])
        origin = header(scope, b"origin") if is_ours else None
        allowed_origin = None if origin is None else self._allowed(origin)
        if allowed_origin is None:
            await self._app(scope, receive, send)
            return
        allowed = {
            "access-control-allow-origin": allowed_origin,
            "access-control-expose-headers": _EXPOSED,
            "vary": "Origin",
        }
        if scope["method"] == "OPTIONS":
            await _send_empty(send, 204, allowed | self._preflight(scope))
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowed)
            await send(message)

        await self._app(scope, receive, send_allowed)

    def _allowed(self, origin: str) -> str | None:
        """What to answer an origin; None: it may not."""
        if self._local_only:
            return origin if _is_loopback(origin) else None
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None

    def _preflight(self, scope: Scope) -> dict[str, str]:
        asked = header(scope, b"access-control-request-headers")
        return {
            "access-control-allow-methods": "GET, POST, DELETE",
            "access-control-allow-headers": asked or "authorization, content-type",
            "access-control-max-age": "86400",
        }


class Problems:
    """The last stop of every error: a status and the usual body, or silence if nobody listens."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, and answer for its failure."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_watched(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except HungUp:
            scope["state"]["log"]["hung_up"] = True
        except Exception as exc:
            if is_started:
                raise
            await send_problem(exc, scope, receive, send)


class HostCheck:
    """Refuses a malformed Host; without keys, also every host and origin but this machine's.

    Without keys the address is the only lock: a page of another site, or a name of another site
    that resolves to this machine, must not get in.
    """

    def __init__(self, app: ASGIApp, *, local_only: bool) -> None:
        self._app = app
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on if it may come in."""
        if scope["type"] == "http":
            host = header(scope, b"host")
            if host is not None and _HOST.fullmatch(host) is None:
                raise InvalidRequest("the Host header is malformed", param="host")
            if self._local_only:
                self._check_local(host, header(scope, b"origin"))
        await self._app(scope, receive, send)

    def _check_local(self, host: str | None, origin: str | None) -> None:
        if host is not None and not _is_loopback(f"//{host}"):
            raise Forbidden(
                "This server runs without keys and answers to localhost only. "
                "To serve other hosts, start it with keys.",
                param="host",
            )
        if origin is not None and not _is_loopback(origin):
            raise Forbidden(
                "This server runs without keys and answers to pages of this machine only. "
                "To serve other origins, start it with keys."
            )


class BodyLimit:
    """Refuses a body over the limit: from its announced length, or while it arrives."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on with a `receive` that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = header(scope, b"content-length") or "0"
        if not announced.isascii() or not announced.isdigit():
            raise InvalidRequest("the Content-Length header is no number", param="body")
        if int(announced) > self._max_bytes:
            raise self._refusal()
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._refusal()
            return message

        await self._app(scope, receive_counted, send)

    def _refusal(self) -> HeadraceError:
        return RequestTooLarge(
            f"the body is larger than {self._max_bytes} bytes: shorten the messages"
        )


def _is_shared(path: str) -> bool:
    return path.startswith(_SHARED) and not path.startswith(_OWN)


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:  # brackets that hold no address
        return False
    return host in LOOPBACK_HOSTS or (host is not None and host.endswith(".localhost"))


async def _send_empty(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b""})
