"""Log-in, and the sessions that follow: a random id, of which the database keeps the digest."""

import asyncio
import contextlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from headrace.accounts.keys import base62
from headrace.accounts.passwords import Passwords
from headrace.accounts.registry import Registry
from headrace.accounts.roles import Actor, ActorKind, Role
from headrace.accounts.throttle import Throttle
from headrace.errors import NoSession, StoreError, WrongLogin
from headrace.store import SessionRecord, UserRecord, users

_MINUTE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session just begun; `id` goes into a cookie and is shown nowhere else."""

    id: str
    csrf_token: str
    user: UserRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """Whose session it is."""

    actor: Actor
    user: UserRecord
    csrf_token: str


class Sessions:
    """The sessions of all users."""

    def __init__(
        self,
        registry: Registry,
        passwords: Passwords,
        throttle: Throttle,
        *,
        later: Callable[..., object],
        idle_s: int,
        max_s: int,
    ) -> None:
        """`later(work, *arguments)` has a small write done, soon and elsewhere.

        A session ends `idle_s` seconds after its last use, and `max_s` after its beginning."""
        self._registry = registry
        self._passwords = passwords
        self._throttle = throttle
        self._later = later
        self._idle_s = idle_s
        self._max_s = max_s

    async def log_in(self, email: str, password: str, *, address: str) -> NewSession:
        """Begin a session.

        An unknown address, a wrong password and a user without one get the same WrongLogin after
        the same work. Raises TooManyAttempts after ten failures a minute of this address or for
        this account, LoginsBusy.
        """
        names = (f"address {address}", f"account {email.strip().casefold()}")
        self._throttle.take(*names)
        with self._registry.store.reading() as tx:
            user = users.by_email(tx, email.strip())
            known = None if user is None else users.password_hash(tx, user.id)
        if not await self._passwords.verify(known, password) or user is None:
            raise WrongLogin
        self._throttle.give_back(*names)
        return await asyncio.to_thread(self.begin, user, address=address)

    def begin(self, user: UserRecord, *, address: str) -> NewSession:
        """A new session of somebody who was recognised."""
        session_id = base62(int.from_bytes(self._registry.token_bytes(32), "big"), 43)
        now = self._registry.now_unix()
        record = SessionRecord(
            digest=self._registry.digest(session_id),
            user_id=user.id,
            created_unix=now,
            last_seen_unix=now,
            expires_unix=now + self._max_s,
        )
        with self._registry.store.changing() as tx:
            users.add_session(tx, record)
            self._registry.note(tx, _actor(user, address), "login.succeeded", user.id)
        return NewSession(id=session_id, csrf_token=self._csrf_token(session_id), user=user)

    def find(self, session_id: str | None, *, address: str) -> LoggedIn:
        """Whose session this is, now. Raises NoSession for one that has ended or never was."""
        if not session_id:
            raise NoSession
        digest = self._registry.digest(session_id)
        with self._registry.store.reading() as tx:
            found = users.session(tx, digest)
        if found is None:
            raise NoSession
        session, user = found
        now = self._registry.now_unix()
        if now >= min(session.expires_unix, session.last_seen_unix + self._idle_s):
            raise NoSession
        if now - session.last_seen_unix >= _MINUTE_S:
            self._later(self._touch, digest, now)
        return LoggedIn(
            actor=_actor(user, address), user=user, csrf_token=self._csrf_token(session_id)
        )

    def log_out(self, session_id: str) -> None:
        """End a session."""
        with self._registry.store.changing() as tx:
            users.end_session(tx, self._registry.digest(session_id))

    async def change_password(self, logged_in: LoggedIn, old: str, new: str) -> None:
        """Change a user's own password, and end all his sessions.

        Raises WrongLogin for a wrong old one, TooManyAttempts, InvalidRequest, LoginsBusy.
        """
        user = logged_in.user
        name = f"account {user.email.casefold()}"
        self._throttle.take(name)
        with self._registry.store.reading() as tx:
            known = users.password_hash(tx, user.id)
        if not await self._passwords.verify(known, old):
            raise WrongLogin("Wrong password.")
        self._throttle.give_back(name)
        password_hash = await self._passwords.hash(new)
        await asyncio.to_thread(self._set_password, logged_in, password_hash)

    def is_csrf_token(self, logged_in: LoggedIn, token: str | None) -> bool:
        """Whether a request was made by a page that was told the session's token."""
        return hmac.compare_digest((token or "").encode(), logged_in.csrf_token.encode())

    def _set_password(self, logged_in: LoggedIn, password_hash: str) -> None:
        with self._registry.store.changing() as tx:
            user_id = logged_in.user.id
            users.set_password(tx, user_id, password_hash, self._registry.now_unix())
            users.end_sessions(tx, user_id)
            self._registry.note(tx, logged_in.actor, "password.changed", user_id)

    def _touch(self, digest: bytes, last_seen_unix: int) -> None:
        # At worst a session ends a little early: not worth a failed call.
        store = self._registry.store
        with contextlib.suppress(StoreError), store.changing(of_accounts=False) as tx:
            users.touch_session(tx, digest, last_seen_unix)

    def _csrf_token(self, session_id: str) -> str:
        """Made of the session's id, which a page of another site cannot read."""
        return base62(int.from_bytes(self._registry.digest("csrf " + session_id), "big"), 43)


def _actor(user: UserRecord, address: str) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id=user.id,
        name=user.email,
        organisation_id=user.organisation_id,
        role=Role(user.role),
        address=address,
    )
