"""The console's own addresses: log in, log out, who am I, sign up, another password.

One of them answers anybody: how this server is entered, and who is in already.
"""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.accounts import (
    DEFAULT_ORGANISATION,
    PERMISSIONS,
    AccountService,
    NewSession,
    Permission,
    Role,
)
from headrace.api.answers import PRIVATE, JsonResponse
from headrace.api.body import BodyReader
from headrace.api.managers import COOKIE, Managers, set_cookie
from headrace.api.organisation_objects import Object, user_object
from headrace.api.organisation_schemas import (
    B,
    LoginBody,
    PasswordBody,
    SignUpBody,
    read_body,
)
from headrace.api.strict_json import parse_object
from headrace.config import AccountsConfig, SignUp
from headrace.errors import InvalidRequest, NoSession
from headrace.store import UserRecord

ROOT = "/console/api"
STATE = f"{ROOT}/state"


def no_accounts() -> BaseRoute:
    """The one address that a server without accounts has, too: that there is nobody to be."""

    async def state(_: Request) -> Response:
        return JsonResponse(_state_object(None, has_provider=False, session=None), headers=PRIVATE)

    return Route(STATE, state)


def _state_object(sign_up: SignUp | None, *, has_provider: bool, session: Object | None) -> Object:
    return {
        "object": "console.state",
        "accounts": sign_up is not None,
        "sign_up": None if sign_up is None else sign_up.value,
        "identity_provider": has_provider,
        "session": session,
    }


class SessionRoutes:
    """Begins, shows and ends sessions."""

    def __init__(
        self,
        accounts: AccountService,
        managers: Managers,
        bodies: BodyReader,
        config: AccountsConfig,
    ) -> None:
        self._accounts = accounts
        self._managers = managers
        self._bodies = bodies
        self._config = config

    def routes(self) -> Sequence[BaseRoute]:
        """All of them."""
        return (
            Route(STATE, self._state),
            Route(f"{ROOT}/login", self._log_in, methods=["POST"]),
            Route(f"{ROOT}/logout", self._log_out, methods=["POST"]),
            Route(f"{ROOT}/me", self._me),
            Route(f"{ROOT}/signup", self._sign_up, methods=["POST"]),
            Route(f"{ROOT}/password", self._change_password, methods=["POST"]),
        )

    async def _state(self, request: Request) -> Response:
        """Never a 401: to be nobody is a good answer to whether one is somebody."""
        try:
            found = self._managers.logged_in(request)
        except NoSession:
            session = None
        else:
            session = self._identity(found.user, found.csrf_token)
        config = self._config
        answer = _state_object(
            config.sign_up, has_provider=bool(config.oidc_issuer), session=session
        )
        return JsonResponse(answer, headers=PRIVATE)

    async def _log_in(self, request: Request) -> Response:
        self._managers.check_page(request)
        body = await self._read(request, LoginBody)
        session = await self._accounts.sessions.log_in(
            body.email, body.password, address=request.state.address
        )
        return await self._begun(request, session)

    async def _log_out(self, request: Request) -> Response:
        self._managers.logged_in(request)
        await asyncio.to_thread(self._accounts.sessions.log_out, self._managers.session_id(request))
        response = JsonResponse({"status": "logged_out"})
        set_cookie(response.headers, request.scope, "", max_age_s=0)
        return response

    async def _me(self, request: Request) -> Response:
        found = self._managers.logged_in(request)
        return JsonResponse(self._identity(found.user, found.csrf_token), headers=PRIVATE)

    async def _sign_up(self, request: Request) -> Response:
        self._managers.check_page(request)
        body = await self._read(request, SignUpBody)
        address = request.state.address
        if body.invite is not None and body.email is None:
            user = await self._accounts.sign_ups.by_invitation(
                body.invite, name=body.name, password=body.password, address=address
            )
        elif body.email is not None and body.invite is None:
            user = await self._accounts.sign_ups.by_oneself(
                email=body.email, name=body.name, password=body.password, address=address
            )
        else:
            raise InvalidRequest("email: send either email or invite", param="email")
        return await self._begin(request, user)

    async def _change_password(self, request: Request) -> Response:
        found = self._managers.logged_in(request)
        body = await self._read(request, PasswordBody)
        await self._accounts.sessions.change_password(found, body.old_password, body.new_password)
        return await self._begin(request, found.user)

    async def _read(self, request: Request, kind: type[B]) -> B:
        body = await self._bodies.read(request.scope, request.receive)
        return read_body(kind, await parse_object(body))

    async def _begin(self, request: Request, user: UserRecord) -> Response:
        session = await asyncio.to_thread(
            self._accounts.sessions.begin, user, address=request.state.address
        )
        return await self._begun(request, session)

    async def let_in(self, request: Request, response: Response, user: UserRecord) -> None:
        """Begin a session of somebody who was recognised, and give it to his browser."""
        session = await asyncio.to_thread(
            self._accounts.sessions.begin, user, address=request.state.address
        )
        await self._give(request, response, session)

    async def _begun(self, request: Request, session: NewSession) -> Response:
        response = JsonResponse(self._identity(session.user, session.csrf_token), headers=PRIVATE)
        await self._give(request, response, session)
        return response

    async def _give(self, request: Request, response: Response, session: NewSession) -> None:
        """A new id for each session: one that a page planted before means nothing after."""
        before = request.cookies.get(COOKIE)
        if before:
            await asyncio.to_thread(self._accounts.sessions.log_out, before)
        set_cookie(
            response.headers, request.scope, session.id, max_age_s=self._config.session_max_s
        )

    def _identity(self, user: UserRecord, csrf_token: str) -> Object:
        organisation = self._accounts.organisations.one(user.organisation_id)
        permissions = PERMISSIONS[Role(user.role)]
        return {
            "object": "session",
            "user": user_object(user),
            "organization": {
                "id": organisation.id,
                "name": organisation.name,
                "tier": organisation.tier,
            },
            "permissions": sorted(permissions),
            "runs_server": organisation.id == DEFAULT_ORGANISATION
            and Permission.CREDIT_WRITE in permissions,
            "csrf_token": csrf_token,
        }
