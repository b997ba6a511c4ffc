"""Log-in through an identity provider: two addresses for browsers, and what we ask the provider.

The only hosts called are the configured issuer's, and those that its own description names.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from headrace.accounts import AccountService, Flow, Identity
from headrace.api.managers import Managers
from headrace.api.sessions import ROOT, SessionRoutes
from headrace.config import LOOPBACK_HOSTS, AccountsConfig
from headrace.errors import ConfigError, WrongLogin

FLOW_COOKIE = "headrace_oidc"
_SCOPE = "openid email profile"
_TIMEOUT_S = 10.0
_MAX_BYTES = 1 << 20  # of what a provider answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The provider, as the settings name it."""

    url: str
    client_id: str
    client_secret: str
    redirect_url: str

    @classmethod
    def of(cls, config: AccountsConfig) -> "Issuer":
        """Raises ConfigError for settings that are incomplete or not safe."""
        for name in ("oidc_issuer", "oidc_redirect_url"):
            if not _is_safe(getattr(config, name)):
                raise ConfigError(f"setting 'accounts.{name}' must be an https address")
        if not config.oidc_client_id:
            raise ConfigError("setting 'accounts.oidc_client_id' is missing")
        try:
            secret = config.oidc_client_secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(
                f"setting 'accounts.oidc_client_secret_file' cannot be read: {exc}"
            ) from exc
        return cls(
            url=config.oidc_issuer.rstrip("/"),
            client_id=config.oidc_client_id,
            client_secret=secret,
            redirect_url=config.oidc_redirect_url,
        )


class OidcRoutes:
    """Sends a browser to the provider, and lets in whom the provider sends back."""

    def __init__(
        self,
        accounts: AccountService,
        managers: Managers,
        sessions: SessionRoutes,
        issuer: Issuer,
    ) -> None:
        self._accounts = accounts
        self._managers = managers
        self._sessions = sessions
        self._issuer = issuer

    def routes(self) -> Sequence[BaseRoute]:
        """Both."""
        return (
            Route(f"{ROOT}/oidc/login", self._begin),
            Route(f"{ROOT}/oidc/callback", self._end),
        )

    async def _begin(self, request: Request) -> Response:
        self._managers.check_page(request)
        self._accounts.throttle.take(f"oidc {request.state.address}")  # each asks the provider
        described = await self._describe()
        flow = self._accounts.identities.begin()
        asked = {
            "response_type": "code",
            "client_id": self._issuer.client_id,
            "redirect_uri": self._issuer.redirect_url,
            "scope": _SCOPE,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": _challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
        url = httpx.URL(described["authorization_endpoint"]).copy_merge_params(asked)
        response = RedirectResponse(str(url), status_code=302)
        self._set_flow(response, request, self._accounts.identities.seal(flow))
        return response

    async def _end(self, request: Request) -> Response:
        self._managers.check_page(request)
        address = request.state.address
        name = f"address {address}"
        self._accounts.throttle.take(name)
        sealed, query = request.cookies.get(FLOW_COOKIE), request.query_params
        flow = self._accounts.identities.open(sealed, query.get("state"))
        identity = await self._identity(flow, query.get("code") or "")
        user = await asyncio.to_thread(self._accounts.identities.user_of, identity, address=address)
        self._accounts.throttle.give_back(name)
        response = RedirectResponse("/console", status_code=302)
        await self._sessions.let_in(request, response, user)
        self._set_flow(response, request, "")
        return response

    async def _identity(self, flow: Flow, code: str) -> Identity:
        """Trade a code for a token, and believe the token if it is right. Raises WrongLogin."""
        described = await self._describe()
        token = await self._ask(
            "POST",
            described["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._issuer.redirect_url,
                "code_verifier": flow.verifier,
            },
            auth=(quote(self._issuer.client_id), quote(self._issuer.client_secret)),
        )
        key_set = await self._ask("GET", described["jwks_uri"])
        return self._accounts.identities.verify(
            str(token.get("id_token", "")),
            key_set,
            flow,
            issuer=self._issuer.url,
            client_id=self._issuer.client_id,
        )

    async def _describe(self) -> dict[str, str]:
        """Where the provider answers, by its own description, which must be the issuer's."""
        url = f"{self._issuer.url}/.well-known/openid-configuration"
        told = await self._ask("GET", url)
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if str(told.get("issuer", "")).rstrip("/") != self._issuer.url or not all(
            _is_safe(str(told.get(name, ""))) for name in names
        ):
            raise _refused()
        return {name: str(told[name]) for name in names}

    async def _ask(self, method: str, url: str, **asked: Any) -> dict[str, Any]:
        """What the provider says, a JSON object; redirects are not followed. Raises WrongLogin."""
        try:
            async with (
                httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client,
                client.stream(method, url, **asked) as response,
            ):
                response.raise_for_status()
                data = b""
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > _MAX_BYTES:
                        raise _refused()
            said = msgspec.json.decode(data)
        except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise _refused() from exc
        if not isinstance(said, dict):
            raise _refused()
        return cast("dict[str, Any]", said)

    def _set_flow(self, response: Response, request: Request, value: str) -> None:
        """Give the browser what it has to bring back, which ends by itself, or take it away."""
        response.set_cookie(
            FLOW_COOKIE,
            value,
            max_age=None if value else 0,
            path=f"{ROOT}/oidc",
            httponly=True,
            secure=request.state.is_secure,
            samesite="lax",  # it comes back with the provider's redirect
        )


def _challenge(verifier: str) -> str:
    """RFC 7636, section 4.2, method S256."""
    digest = sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)


def _refused() -> WrongLogin:
    return WrongLogin("The identity provider's answer does not let you in. Begin again.")
