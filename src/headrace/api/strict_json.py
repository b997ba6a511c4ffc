"""JSON as RFC 8259 has it, refused early: size of the tree first, then the text, then the object.

The tree is measured without recursion and before anything is built: a body of brackets or commas
costs a few passes over its bytes, not a million objects.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple, cast

import msgspec

from headrace.errors import InvalidJson, InvalidRequest

MAX_DEPTH = 64
MAX_VALUES = 100_000  # chosen: 25 000 messages; each value costs some 100 bytes once parsed
LARGE_BYTES = 256 * 1024  # some 2 ms of work

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_OPEN, _CLOSE, _SEPARATORS = b"[{", b"]}", b",:"
_NOT_BRACKETS = bytes(set(range(256)) - set(_OPEN + _CLOSE))
_ROUND = bytes.maketrans(_OPEN + _CLOSE, b"(())")


async def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises InvalidJson for what is not JSON or nests too deeply, InvalidRequest for JSON that is
    not an object.
    """
    document = await off_loop(_parse, body, size=len(body))
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object", param="body")
    return cast("dict[str, Any]", document)


async def off_loop(work: Callable[[*Ts], T], *arguments: *Ts, size: int) -> T:
    """`work(*arguments)`, on a thread when it works on a large body: others' tokens go on."""
    if size > LARGE_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


def _parse(body: bytes) -> object:
    if not body.strip():
        raise InvalidJson("the body is empty: send a JSON object")
    _check_tree(body)
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as exc:
        raise InvalidJson(f"the body is not valid UTF-8 (byte {exc.start})") from exc
    except msgspec.ValidationError as exc:  # the one thing it checks without a type
        raise InvalidJson(f"the body holds a number that is out of range: {exc}") from exc
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise InvalidJson(
            f"the body is not valid JSON, which knows no NaN, comments or trailing commas: {exc}"
        ) from exc


def _check_tree(body: bytes) -> None:
    """Bound depth and number of values; what else is wrong is the decoder's matter."""
    brackets = body.count(b"[") + body.count(b"{")
    separators = body.count(b",") + body.count(b":")
    if brackets <= MAX_DEPTH and separators <= MAX_VALUES:
        return  # the usual case: even if all of them stood outside strings
    outside = _without_strings(body)
    if sum(outside.count(char) for char in _OPEN + _SEPARATORS) > MAX_VALUES:
        raise InvalidJson(f"the body holds more than {MAX_VALUES} values")
    # Each pass takes away the innermost pairs, so a tree of depth d is gone after d passes.
    pairs = outside.translate(_ROUND, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        pairs = pairs.replace(b"()", b"")
    if b"()" in pairs or pairs.count(b"(") > MAX_DEPTH:
        raise InvalidJson(f"the body nests deeper than {MAX_DEPTH} levels")


def _without_strings(body: bytes) -> bytes:
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if text.count(b'"') > 4 * MAX_VALUES:
        raise InvalidJson(f"the body holds more than {MAX_VALUES} values")
    return b"".join(text.split(b'"')[::2])
