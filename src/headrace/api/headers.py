"""Reads the headers of an exchange: one of them, or who calls."""

from dataclasses import dataclass
from typing import cast

from starlette.types import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, in the words of the exchange: nothing of it is verified yet."""

    secret: str | None = None  # of `Authorization: Bearer SECRET`
    address: str = ""
    route: str = ""  # the path that the router matched


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for found, value in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        if found == name:
            return value.decode("latin-1")
    return None


def caller_of(scope: Scope) -> Caller:
    """Who calls. `middleware.Peer` has found the address."""
    scheme, _, secret = (header(scope, b"authorization") or "").partition(" ")
    return Caller(
        secret=secret.strip() if scheme.lower() == "bearer" else None,
        address=scope["state"]["address"],
        route=scope["path"],
    )
