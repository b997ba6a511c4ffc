"""Reads the headers of an exchange."""

from typing import cast

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for found, value in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        if found == name:
            return value.decode("latin-1")
    return None


def key_of(scope: Scope) -> str | None:
    """The secret of `Authorization: Bearer SECRET`."""
    scheme, _, secret = (header(scope, b"authorization") or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None
