"""Reads a JSON body, of the right type and in time. Its size is `middleware.BodyLimit`'s matter."""

import asyncio

from starlette.types import Receive, Scope

from headrace.api.connection import HungUp
from headrace.errors import RequestTimeout, UnsupportedMediaType


async def read_json_body(scope: Scope, receive: Receive, timeout_s: float) -> bytes:
    """The whole body.

    Raises UnsupportedMediaType for another type or encoding, RequestTimeout when it takes longer
    than `timeout_s`, HungUp when the client leaves.
    """
    headers = dict[bytes, bytes](scope["headers"])
    media_type = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise UnsupportedMediaType("send the body as 'Content-Type: application/json'")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMediaType(
            "compressed bodies are not offered yet: leave out 'Content-Encoding'",
            param="content_encoding",
        )
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(receive)
    except TimeoutError as exc:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s") from exc


async def _collect(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
