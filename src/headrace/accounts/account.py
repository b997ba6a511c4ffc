"""The caller of the API, as the rest of the service knows it, and what its key is held to."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from headrace.accounts.tiers import Tier
from headrace.errors import Forbidden, InvalidRequest

MAX_SCOPE_ENTRIES = 64
MAX_SCOPE_CHARS = 200  # of an entry
_MAX_LIMIT = 1 << 53  # what every JSON reader keeps exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """What a key may be used for; None: whatever its organisation may."""

    models: tuple[str, ...] | None = None  # by the names they are asked for
    routes: tuple[str, ...] | None = None  # "/v1/models" has all that begins with "/v1/models/"
    addresses: tuple[str, ...] | None = None  # networks, "10.0.0.0/8"

    def allows_model(self, model: str) -> bool:
        """Whether a model may be asked for, or shown."""
        return self.models is None or model in self.models

    def check(self, *, route: str, address: str) -> None:
        """Raises Forbidden for a route or a caller's address that is not in scope; "" is in none.

        `route` is the path that the router matched.
        """
        if self.routes is not None and not any(
            route == scope or route.startswith(scope + "/") for scope in self.routes
        ):
            raise Forbidden("This API key is not for this address of the API.", param="route")
        if self.addresses is not None and not _lies_in(address, self.addresses):
            raise Forbidden("This API key may not be used from here.", param="address")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """A key's own limits, beside its organisation's; None: only that one's."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_requests: int | None = None
    budget_micros: int | None = None  # of spending in a calendar month (UTC), in millionths


UNSCOPED = Scopes()
UNLIMITED = KeyLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The caller of the API."""

    key_id: str
    name: str  # of the key
    tier: Tier
    organisation_id: str = ""
    project_id: str = ""
    scopes: Scopes = UNSCOPED
    limits: KeyLimits = UNLIMITED


class Anyone:
    """The doorkeeper of a server without keys: everybody is the same caller."""

    def authenticate(self, secret: str | None, *, address: str = "", route: str = "") -> Account:
        """The one account there is."""
        return Account(key_id="", name="anyone", tier=Tier.ENTERPRISE)

    def is_active(self, account: Account) -> bool:
        """It always is."""
        return True


def read_scopes(text: str) -> Scopes:
    """Scopes as `as_json` wrote them."""
    return UNSCOPED if text == "{}" else msgspec.json.decode(text, type=Scopes)


def read_limits(text: str) -> KeyLimits:
    """Limits as `as_json` wrote them."""
    return UNLIMITED if text == "{}" else msgspec.json.decode(text, type=KeyLimits)


def as_json(value: Scopes | KeyLimits) -> str:
    """JSON for the database, without what is None."""
    known: dict[str, object] = msgspec.to_builtins(value)
    return msgspec.json.encode({k: v for k, v in known.items() if v is not None}).decode()


def check_scopes(scopes: Scopes) -> Scopes:
    """Scopes that mean something. Raises InvalidRequest naming the field that does not."""
    for name in ("models", "routes", "addresses"):
        entries: tuple[str, ...] | None = getattr(scopes, name)
        if entries is None:
            continue
        if not 1 <= len(entries) <= MAX_SCOPE_ENTRIES:
            raise InvalidRequest(
                f"scopes.{name}: 1 to {MAX_SCOPE_ENTRIES} entries, or leave it out",
                param=f"scopes.{name}",
            )
        if not all(0 < len(e) <= MAX_SCOPE_CHARS and e.isprintable() for e in entries):
            raise InvalidRequest(
                f"scopes.{name}: an entry has 1 to {MAX_SCOPE_CHARS} printable characters",
                param=f"scopes.{name}",
            )
    for route in scopes.routes or ():
        if not route.startswith("/v1/") or route.endswith("/"):
            raise InvalidRequest(
                "scopes.routes: an entry is an address like '/v1/chat/completions'",
                param="scopes.routes",
            )
    for address in scopes.addresses or ():
        try:
            ip_network(address)
        except ValueError as exc:
            raise InvalidRequest(
                "scopes.addresses: an entry is an address or a network like '10.0.0.0/8'",
                param="scopes.addresses",
            ) from exc
    return scopes


def check_limits(limits: KeyLimits) -> KeyLimits:
    """Limits that can be kept. Raises InvalidRequest naming the field that cannot."""
    known: dict[str, int | None] = msgspec.to_builtins(limits)
    for name, value in known.items():
        if value is not None and not 0 <= value <= _MAX_LIMIT:
            raise InvalidRequest(
                f"limits.{name}: must be between 0 and {_MAX_LIMIT}", param=f"limits.{name}"
            )
    return limits


def _lies_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in _network(network) for network in networks)


@lru_cache(maxsize=4_096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)
