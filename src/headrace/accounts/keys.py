"""The form of an API key: `hr-`, 256 random bits, and a checksum that refuses rubbish cheaply.

    hr-  43 characters of base 62 (32 bytes)  6 characters of base 62 (CRC-32 of what precedes)

The checksum is no secret: it tells a mistyped key from a real one without a look at the database,
and lets scanners of leaked secrets recognise ours.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "hr-"
SECRET_BYTES = 32

_BODY_CHARS = 43  # 62^43 > 2^256
_SUM_CHARS = 6  # 62^6 > 2^32
_FORM = re.compile(rf"hr-[0-9A-Za-z]{{{_BODY_CHARS + _SUM_CHARS}}}", re.ASCII)


def base62(number: int, width: int) -> str:
    """`number` (>= 0) in base 62, filled with zeros to `width`."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits.rjust(width, ALPHABET[0])


def generate_key(token_bytes: Callable[[int], bytes]) -> str:
    """A new key from a source of random bytes."""
    stem = PREFIX + base62(int.from_bytes(token_bytes(SECRET_BYTES), "big"), _BODY_CHARS)
    return stem + _checksum(stem)


def is_well_formed(key: str) -> bool:
    """Whether `key` could be one of ours: length, alphabet, checksum."""
    if _FORM.fullmatch(key) is None:
        return False
    return key[-_SUM_CHARS:] == _checksum(key[:-_SUM_CHARS])


def digest_of(key: str, pepper: bytes) -> bytes:
    """What the database keeps of a key: HMAC-SHA-256 under the server's pepper, 32 bytes."""
    return hmac.digest(pepper, key.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _checksum(stem: str) -> str:
    return base62(zlib.crc32(stem.encode("ascii")), _SUM_CHARS)
