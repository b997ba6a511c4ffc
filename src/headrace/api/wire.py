"""What all wire objects have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

_MAX_SHOWN_CHARS = 120  # of text built from the caller's own words


class Wire(BaseModel):
    """A wire object: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]  # 3.0 is one


def printable(text: str) -> str:
    """The caller's own words, safe and short enough for an error message."""
    text = text[:_MAX_SHOWN_CHARS]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
