"""One line per event, key=value, for the standard `logging` module: no prompts, no keys."""

import json
import logging
import re

logger = logging.getLogger("headrace.api")

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+%-]+", re.ASCII)
_MAX_CHARS = 200


def line(event: str, **fields: object) -> str:
    """`event key=value …`; odd text is quoted and escaped, so an event is always one line."""
    return " ".join([event, *(f"{name}={_value(value)}" for name, value in fields.items())])


def _value(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)[:_MAX_CHARS]
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
