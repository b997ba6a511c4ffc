"""msgpack held to JSON's rules: the same depth and number of values, finite numbers, text as keys.

Read in one pass without recursion. A length is believed only as far as there are bytes and values
left, so a body of five bytes cannot ask for an array of four thousand million.
"""

import math
import struct
from collections.abc import Callable

from headrace.errors import InvalidJson

# Form of what follows a first byte: numbers in place, and lengths in front of texts and containers.
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_TEXTS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_ARRAYS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_WORDS: dict[int, object] = {0xC0: None, 0xC2: False, 0xC3: True}

_ROOT = "root"


def decode_msgpack(body: bytes, *, max_depth: int, max_values: int) -> object:
    """The value in `body`; binary strings are text. Raises InvalidJson for a broken rule."""
    try:
        return _Reader(body, max_depth, max_values).read()
    except UnicodeDecodeError as exc:
        raise _refusal("a text is not valid UTF-8") from exc
    except (struct.error, IndexError) as exc:
        raise _refusal("it ends too early") from exc


class _Reader:
    def __init__(self, body: bytes, max_depth: int, max_values: int) -> None:
        self._body = body
        self._at = 0
        self._max_depth = max_depth
        self._max_values = max_values
        self._values_left = max_values

    def read(self) -> object:
        root: dict[str, object] = {}
        # Containers that are open: how to add to it, its values to come, whether they have keys.
        open_ones: list[tuple[Callable[[str, object], None], int, bool]] = []
        add, left, has_keys = root.__setitem__, 1, False
        while True:
            if left == 0:
                if not open_ones:
                    break
                add, left, has_keys = open_ones.pop()
                continue
            left -= 1
            key = self._key() if has_keys else _ROOT
            value, count = self._value()
            add(key, value)
            if len(open_ones) == self._max_depth and isinstance(value, list | dict):
                raise InvalidJson(f"the body nests deeper than {self._max_depth} levels")
            if count:
                open_ones.append((add, left, has_keys))
                add, has_keys = _adder(value)
                left = count
        if self._at != len(self._body):
            raise _refusal("something follows its end")
        return root[_ROOT]

    def _value(self) -> tuple[object, int]:
        """The next value, and of a container how many are to be put into it."""
        first = self._first()
        if first <= 0x7F:
            return first, 0
        if first >= 0xE0:
            return first - 0x100, 0
        if first in _NUMBERS:
            return self._number(_NUMBERS[first]), 0
        if 0xA0 <= first <= 0xBF or first in _TEXTS:
            return self._text(first), 0
        if 0x90 <= first <= 0x9F or first in _ARRAYS:
            return [], self._count(first, 0x90, _ARRAYS, bytes_each=1)
        if 0x80 <= first <= 0x8F or first in _MAPS:
            return {}, self._count(first, 0x80, _MAPS, bytes_each=2)
        if first in _WORDS:
            return _WORDS[first], 0
        raise _refusal(f"type 0x{first:02x} stands for nothing that JSON has")

    def _key(self) -> str:
        first = self._first()
        if not (0xA0 <= first <= 0xBF or first in _TEXTS):
            raise _refusal("a key is not a text")
        return self._text(first)

    def _first(self) -> int:
        self._values_left -= 1
        if self._values_left < 0:
            raise InvalidJson(f"the body holds more than {self._max_values} values")
        first = self._body[self._at]
        self._at += 1
        return first

    def _number(self, form: str) -> int | float:
        number: int | float = self._unpack(form)
        if not math.isfinite(number):
            raise InvalidJson("the body holds a number that is out of range: NaN or infinity")
        return number

    def _text(self, first: int) -> str:
        length = self._unpack(_TEXTS[first]) if first in _TEXTS else first & 0x1F
        data = self._body[self._at : self._at + length]
        if len(data) < length:
            raise IndexError
        self._at += length
        return data.decode()

    def _count(self, first: int, base: int, forms: dict[int, str], *, bytes_each: int) -> int:
        count = self._unpack(forms[first]) if first in forms else first - base
        if count > self._values_left:
            raise InvalidJson(f"the body holds more than {self._max_values} values")
        if count * bytes_each > len(self._body) - self._at:
            raise IndexError
        return count

    def _unpack(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._body, self._at)
        self._at += struct.calcsize(form)
        return number


def _adder(container: object) -> tuple[Callable[[str, object], None], bool]:
    """How values get into a new container, and whether with keys."""
    if isinstance(container, dict):
        return container.__setitem__, True  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert isinstance(container, list)
    append = container.append  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return lambda _, value: append(value), False


def _refusal(why: str) -> InvalidJson:
    return InvalidJson(f"the body is not valid msgpack: {why}")
