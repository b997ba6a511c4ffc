"""What a chat template may make: checked before it is made, since Python asks nobody for memory.

Every check raises SecurityError, which ends the rendering.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import wraps
from typing import cast

from jinja2.exceptions import SecurityError

MAX_OUTPUT_CHARS = 32 << 20  # about 8 million tokens: beyond any context
MAX_REPEAT = 100_000  # largest number a template may multiply, raise or pad with
MAX_SIZE = 1 << 20  # of a value: one for each value it holds, and for each 32 characters
CHARS_A_VALUE = 32
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\*|\d{4,})")


def bounded(name: str, apply: Callable[..., object]) -> Callable[..., object]:
    """The filter `apply`, called `name`, refused where it would make something huge."""

    @wraps(apply)  # with the mark that makes Jinja pass its context first
    def checked(context: object, value: object, *args: object, **kwargs: object) -> object:
        check_call(name, value, *args, *kwargs.values())
        return apply(context, value, *args, **kwargs)

    return checked


def check_call(name: str, *values: object) -> None:
    """Refuse a call that pads, repeats or joins beyond the limits; `values`: what it is given."""
    check_size(values)
    if any(isinstance(value, int) and value > MAX_REPEAT for value in values):
        raise SecurityError(f"it calls with a number above {MAX_REPEAT:,}")
    match name, values:
        case "replace", (str() as text, str() as old, str() as new, *_):
            size = text.count(old) * len(new)
        case "join", (left, right, *_):
            size = _length(left) * _length(right)
        case "expandtabs", (str() as text, *_):
            size = text.count("\t") * MAX_REPEAT  # the widest tab that gets here
        case "format" | "format_map", (str() as text, *_) if ":" in text:
            raise SecurityError("it formats with a width")
        case _:
            size = 0
    if size > MAX_OUTPUT_CHARS:
        raise SecurityError(f"it makes more than {MAX_OUTPUT_CHARS:,} characters with {name}")


def check_binop(operator: str, left: object, right: object) -> None:
    """Refuse `left operator right` where the result would be huge."""
    check_size((left, right))
    match operator:
        case "%":
            is_huge = isinstance(left, str) and _WIDE_FORMAT.search(left) is not None
        case "**" if isinstance(left, int | float) and isinstance(right, int | float):
            is_huge = max(abs(left), abs(right)) > 1_000
        case "*":
            is_huge = _repeated(left, right) > MAX_REPEAT
        case _:
            is_huge = False
    if is_huge:
        raise SecurityError(f"it makes something huge with {operator}")


def check_size(value: object) -> None:
    """Refuse a value larger than MAX_SIZE; what it holds twice counts twice, as in its text."""
    room, unseen = MAX_SIZE, [value]
    while unseen:
        held = unseen.pop()
        if isinstance(held, str):
            room -= len(held) // CHARS_A_VALUE
        elif isinstance(held, Mapping | list | tuple):
            items = cast("Mapping[object, object] | Sequence[object]", held)
            room -= len(items)
            if room >= 0:
                unseen += items.values() if isinstance(items, Mapping) else items
        if room < 0:
            raise SecurityError(f"it makes something of more than {MAX_SIZE:,} values")


def _repeated(left: object, right: object) -> int:
    """The size of a sequence times a number; 0 for other factors."""
    times, sequence = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(times, int) or not isinstance(sequence, str | list | tuple):
        return 0
    items = cast("Sequence[object]", sequence)
    texts = sum(len(item) for item in items if isinstance(item, str))
    return times * max(len(items), texts)


def _length(value: object) -> int:
    """How many characters or items; of what comes one by one, as many as may be repeated."""
    if isinstance(value, Sized):
        return len(value)
    return MAX_REPEAT if isinstance(value, Iterable) else 0
