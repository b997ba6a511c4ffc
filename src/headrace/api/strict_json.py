"""JSON as RFC 8259 has it, refused early: size of the tree first, then the text, then the object.

The tree is measured without recursion and before anything is built: a body of brackets or commas
costs a few passes over its bytes, not a million objects.
"""

from typing import Any, cast

import msgspec

from headrace.api.body import Body
from headrace.api.offload import off_loop
from headrace.api.strict_msgpack import decode_msgpack
from headrace.errors import InvalidJson, InvalidRequest

MAX_DEPTH = 64
MAX_VALUES = 100_000  # chosen: 25 000 messages; each value costs some 100 bytes once parsed
MAX_IDS = 1 << 18  # chosen: of a body that may hold a prompt as token ids; 40 bytes each

_MSGPACK_COSTS = 50  # times what a byte of JSON does, at worst: it is read in Python

_OPEN, _CLOSE, _SEPARATORS = b"[{", b"]}", b",:"
_NOT_BRACKETS = bytes(set(range(256)) - set(_OPEN + _CLOSE))
_ROUND = bytes.maketrans(_OPEN + _CLOSE, b"(())")


async def parse_object(body: Body, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The JSON object in `body`, or what msgpack has for one.

    Raises InvalidJson for what is not JSON or nests too deeply, InvalidRequest for JSON that is
    not an object.
    """
    size = len(body.data) * (_MSGPACK_COSTS if body.is_msgpack else 1)
    document = await off_loop(_parse, body, max_values, size=size)
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object", param="body")
    return cast("dict[str, Any]", document)


def _parse(body: Body, max_values: int) -> object:
    if not body.data.strip():
        raise InvalidJson("the body is empty: send a JSON object")
    if body.is_msgpack:
        return decode_msgpack(body.data, max_depth=MAX_DEPTH, max_values=max_values)
    _check_tree(body.data, max_values)
    try:
        return msgspec.json.decode(body.data)
    except UnicodeDecodeError as exc:
        raise InvalidJson(f"the body is not valid UTF-8 (byte {exc.start})") from exc
    except msgspec.ValidationError as exc:  # the one thing it checks without a type
        raise InvalidJson(f"the body holds a number that is out of range: {exc}") from exc
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        raise InvalidJson(
            f"the body is not valid JSON, which knows no NaN, comments or trailing commas: {exc}"
        ) from exc


def _check_tree(body: bytes, max_values: int) -> None:
    """Bound depth and number of values; what else is wrong is the decoder's matter."""
    brackets = body.count(b"[") + body.count(b"{")
    separators = body.count(b",") + body.count(b":")
    if brackets <= MAX_DEPTH and separators <= max_values:
        return  # the usual case: even if all of them stood outside strings
    outside = _without_strings(body, max_values)
    if sum(outside.count(char) for char in _OPEN + _SEPARATORS) > max_values:
        raise InvalidJson(f"the body holds more than {max_values} values")
    # Each pass takes away the innermost pairs, so a tree of depth d is gone after d passes.
    pairs = outside.translate(_ROUND, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        pairs = pairs.replace(b"()", b"")
    if b"()" in pairs or pairs.count(b"(") > MAX_DEPTH:
        raise InvalidJson(f"the body nests deeper than {MAX_DEPTH} levels")


def _without_strings(body: bytes, max_values: int) -> bytes:
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if text.count(b'"') > 4 * max_values:
        raise InvalidJson(f"the body holds more than {max_values} values")
    return b"".join(text.split(b'"')[::2])
