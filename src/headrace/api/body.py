"""Reads a body, of the right type and in time. Its size on the wire is `middleware.BodyLimit`'s."""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope

from headrace.api.connection import HungUp
from headrace.api.offload import off_loop
from headrace.errors import InvalidJson, RequestTimeout, RequestTooLarge, UnsupportedMediaType

JSON_TYPES = (b"application/json", b"text/plain")
MSGPACK_TYPES = (b"application/msgpack", b"application/x-msgpack", b"application/vnd.msgpack")

_GZIP = 16 + zlib.MAX_WBITS  # the container zlib is to expect
_MOST_EXPANDED = 1_000  # bytes that one byte of gzip may become, about


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it is meant: expanded, and of one of two notations."""

    data: bytes
    is_msgpack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReader:
    """Reads bodies under the limits of a server."""

    timeout_s: float
    max_bytes: int  # as it comes, and once expanded

    async def read(self, scope: Scope, receive: Receive) -> Body:
        """The whole body.

        Raises UnsupportedMediaType for another type or encoding, RequestTimeout when it takes
        longer than `timeout_s`, InvalidJson when it cannot be expanded, RequestTooLarge when there
        is too much in it, HungUp when the client leaves.
        """
        headers = dict[bytes, bytes](scope["headers"])
        is_msgpack = _is_msgpack(headers)
        is_gzip = _is_gzip(headers)
        try:
            async with asyncio.timeout(self.timeout_s):
                data = await _collect(receive, self.max_bytes)
        except TimeoutError as exc:
            raise RequestTimeout(f"the body did not arrive within {self.timeout_s:g} s") from exc
        if is_gzip:
            data = await off_loop(_expand, data, self.max_bytes, size=len(data) * _MOST_EXPANDED)
        return Body(data, is_msgpack)


def _is_msgpack(headers: Mapping[bytes, bytes]) -> bool:
    media_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    if media_type not in JSON_TYPES + MSGPACK_TYPES:
        raise UnsupportedMediaType(
            "send the body as 'Content-Type: application/json' or 'application/msgpack'"
        )
    return media_type in MSGPACK_TYPES


def _is_gzip(headers: Mapping[bytes, bytes]) -> bool:
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"", b"gzip", b"x-gzip"):
        raise UnsupportedMediaType(
            "send the body as it is or as 'Content-Encoding: gzip'", param="content_encoding"
        )
    return encoding in (b"gzip", b"x-gzip")


def _expand(data: bytes, max_bytes: int) -> bytes:
    """What was gzipped; never more than `max_bytes` and one of it are made."""
    reader = zlib.decompressobj(_GZIP)
    try:
        expanded = reader.decompress(data, max_bytes + 1)
    except zlib.error as exc:
        raise InvalidJson(f"the body is not valid gzip: {exc}") from exc
    if len(expanded) > max_bytes:
        raise RequestTooLarge(f"the body expands to more than {max_bytes} bytes")
    if not reader.eof:
        raise InvalidJson("the body is not valid gzip: it ends too early")
    if reader.unused_data:
        raise InvalidJson("the body is not valid gzip: something follows its end")
    return expanded


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    left = max_bytes
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        pieces.append(message.get("body", b""))
        left -= len(pieces[-1])
        if left < 0:
            raise RequestTooLarge(f"the body is larger than {max_bytes} bytes")
        if not message.get("more_body", False):
            return b"".join(pieces)
