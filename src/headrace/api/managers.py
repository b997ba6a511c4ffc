"""Who manages accounts: a user with a session, or a management key. There is no third way in."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Scope

from headrace.accounts import AccountService, Actor, LoggedIn
from headrace.api.headers import caller_of, header
from headrace.config import LOOPBACK_HOSTS
from headrace.errors import Forbidden, NoSession

COOKIE = "headrace_session"
CSRF_HEADER = "x-csrf-token"

_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


class Managers:
    """Recognises those who manage accounts, and refuses requests that a foreign page made."""

    def __init__(self, accounts: AccountService, hosts: tuple[str, ...]) -> None:
        """`hosts`: names the console answers to, beside this machine's and plain addresses."""
        self._accounts = accounts
        self._hosts = frozenset(host.lower() for host in hosts)

    def actor(self, request: Request) -> Actor:
        """By the key, if one came; else by the session.

        Raises Unauthenticated, NoSession, Forbidden, TooManyAttempts.
        """
        if "authorization" in request.headers:
            caller = caller_of(request.scope)
            return self._accounts.manager(caller.secret, address=caller.address, route=caller.route)
        return self.logged_in(request).actor

    def logged_in(self, request: Request) -> LoggedIn:
        """Whose session it is. Raises NoSession; Forbidden for a change without its token."""
        self.check_page(request)
        session_id = request.cookies.get(COOKIE)
        found = self._accounts.sessions.find(session_id, address=request.state.address)
        token = request.headers.get(CSRF_HEADER)
        if request.method in _CHANGING and not self._accounts.sessions.is_csrf_token(found, token):
            raise Forbidden(
                f"Send the session's token in the header '{CSRF_HEADER}'.", param=CSRF_HEADER
            )
        return found

    def session_id(self, request: Request) -> str:
        """The id of a session that was recognised. Raises NoSession."""
        session_id = request.cookies.get(COOKIE)
        if not session_id:
            raise NoSession
        return session_id

    def check_page(self, request: Request) -> None:
        """Refuse what a page of another site, or a name that was led here, may have sent.

        Raises Forbidden.
        """
        host = header(request.scope, b"host") or ""
        if not self._is_ours(host):
            raise Forbidden(
                "The console does not answer to this host: add it to 'accounts.console_hosts'.",
                param="host",
            )
        origin = request.headers.get("origin")
        if request.method in _CHANGING and origin is not None and _netloc(origin) != host.lower():
            raise Forbidden("Pages of other origins may not do this.")

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in LOOPBACK_HOSTS | self._hosts or name.endswith(".localhost") or _is_ip(name)


def set_cookie(headers: MutableHeaders, scope: Scope, value: str, *, max_age_s: int) -> None:
    """Give the browser the session's id, or take it away with an age of 0.

    No script reads it, no other site's request but a link carries it, and under TLS it never
    travels without.
    """
    secure = "; Secure" if scope["state"]["is_secure"] else ""
    headers.append(
        "set-cookie",
        f"{COOKIE}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}",
    )


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_ip(name: str) -> bool:
    """A browser that was led here by a name says that name: an address cannot be forged."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
