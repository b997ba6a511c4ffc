"""Log-in through an identity provider (OpenID Connect): what is believed of its tokens, and whom
they let in. `api.oidc` speaks with the provider.

Whatever is wrong with a token, the answer is the same WrongLogin.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from headrace.accounts.keys import base62
from headrace.accounts.registry import MAX_NAME_CHARS, Registry
from headrace.accounts.sign_up import SignUps
from headrace.errors import ConfigError, WrongLogin
from headrace.store import UserRecord, users

# Signatures by keys of which the provider publishes one half. `none` and those by a shared secret
# are what forged tokens ask for.
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
FLOW_S = 600  # from the first page of a log-in to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody for whom a provider speaks."""

    email: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A log-in under way. All of it lies in a sealed cookie of the browser that began it."""

    state: str  # comes back with the answer
    nonce: str  # comes back within the token
    verifier: str  # opens the code (RFC 7636)
    ends_unix: int


class Identities:
    """Begins log-ins, and ends them with a user."""

    def __init__(self, registry: Registry, sign_ups: SignUps) -> None:
        self._registry = registry
        self._sign_ups = sign_ups

    def begin(self) -> Flow:
        """A log-in that nobody else can end."""
        state, nonce, verifier = (self._random() for _ in range(3))
        ends_unix = self._registry.now_unix() + FLOW_S
        return Flow(state=state, nonce=nonce, verifier=verifier, ends_unix=ends_unix)

    def seal(self, flow: Flow) -> str:
        """A log-in as a cookie's value."""
        text = ".".join((flow.state, flow.nonce, flow.verifier, str(flow.ends_unix)))
        return f"{text}.{self._mark(text)}"

    def open(self, sealed: str | None, state: str | None) -> Flow:
        """The log-in of a cookie that we sealed, to which `state` belongs. Raises WrongLogin."""
        text, _, mark = (sealed or "").rpartition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(text).encode()):
            raise _refused()
        known, nonce, verifier, ends = text.split(".")
        flow = Flow(state=known, nonce=nonce, verifier=verifier, ends_unix=int(ends))
        is_same = hmac.compare_digest((state or "").encode(), flow.state.encode())
        if not is_same or self._registry.now_unix() >= flow.ends_unix:
            raise _refused()
        return flow

    def user_of(self, identity: Identity, *, address: str) -> UserRecord:
        """The user of this e-mail address, made first if sign-up lets him. Raises Forbidden."""
        with self._registry.store.reading() as tx:
            found = users.by_email(tx, identity.email)
        if found is not None:
            return found
        return self._sign_ups.by_identity(email=identity.email, name=identity.name, address=address)

    def verify(
        self, id_token: str, key_set: Mapping[str, Any], flow: Flow, *, issuer: str, client_id: str
    ) -> Identity:
        """Whom a token speaks of, if the issuer made it, for us, for this log-in, and just now.

        Raises WrongLogin.
        """
        claims = verified_claims(
            id_token,
            key_set,
            issuer=issuer,
            client_id=client_id,
            nonce=flow.nonce,
            now_unix=self._registry.now_unix(),
        )
        email, name = claims.get("email"), claims.get("name")
        # Elsewhere anybody may write any address into his profile.
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise _refused()
        shown = name if isinstance(name, str) and name.strip() else email
        return Identity(email=email, name=shown.strip()[:MAX_NAME_CHARS])

    def _random(self) -> str:
        return base62(int.from_bytes(self._registry.token_bytes(32), "big"), 43)

    def _mark(self, text: str) -> str:
        return base62(int.from_bytes(self._registry.digest("oidc " + text), "big"), 43)


def verified_claims(
    id_token: str,
    key_set: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now_unix: int,
) -> dict[str, Any]:
    """The claims of an ID token, checked as OpenID Connect Core 1.0, section 3.1.3.7, says.

    Raises WrongLogin.
    """
    try:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
    except ImportError as exc:
        raise ConfigError("log-in by OIDC needs more packages: pip install headrace[oidc]") from exc
    registry = jwt.JWTClaimsRegistry(
        now=now_unix,
        leeway=0,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        keys = KeySet.import_key_set(cast("Any", key_set))
        claims = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS)).claims
        registry.validate(claims)
    except (JoseError, ValueError, TypeError, KeyError) as exc:
        raise _refused() from exc
    audience = claims["aud"]
    if isinstance(audience, list) and claims.get("azp", client_id) != client_id:
        raise _refused()
    return claims


def _refused() -> WrongLogin:
    return WrongLogin("The identity provider's answer does not let you in. Begin again.")
