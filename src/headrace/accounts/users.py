"""The users of an organisation, and the invitations to become one."""

import re
from dataclasses import dataclass, replace

from headrace.accounts.keys import base62
from headrace.accounts.organisations import operator_in
from headrace.accounts.registry import Registry, checked_name
from headrace.accounts.roles import Actor, Permission, Role
from headrace.errors import Forbidden, InvalidRequest, UnknownObject
from headrace.store import InviteRecord, Transaction, UserRecord, api_keys, invites, users

MAX_USERS = 1_000  # of an organisation
MAX_INVITES = 1_000
MAX_EMAIL_CHARS = 254  # RFC 5321
INVITE_PREFIX = "hrinv-"

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvite:
    """An invitation just made: the one time what opens it is shown."""

    invite: InviteRecord
    secret: str


class Users:
    """The users of all organisations; each method acts in the actor's own."""

    def __init__(self, registry: Registry, *, invite_s: int) -> None:
        """`invite_s`: how long an invitation opens."""
        self._registry = registry
        self._invite_s = invite_s

    def all(self, actor: Actor) -> tuple[UserRecord, ...]:
        """Oldest first."""
        actor.require(Permission.USERS_READ)
        with self._registry.store.reading() as tx:
            return users.of_organisation(tx, actor.organisation_id)

    def one(self, actor: Actor, user_id: str) -> UserRecord:
        """The user of this id. Raises UnknownObject."""
        actor.require(Permission.USERS_READ)
        with self._registry.store.reading() as tx:
            return _found(tx, actor, user_id)

    def create(
        self,
        actor: Actor,
        *,
        email: str,
        name: str,
        role: Role,
        password_hash: str | None,
    ) -> UserRecord:
        """Make a user at once, as the operator may. None: he comes in another way.

        Raises InvalidRequest for an address that is none or that somebody has.
        """
        actor.require(Permission.USERS_WRITE)
        actor.require_over(role)
        with self._registry.store.changing() as tx:
            return self.create_in(
                tx, actor, email=email, name=name, role=role, password_hash=password_hash
            )

    def create_in(
        self,
        tx: Transaction,
        actor: Actor,
        *,
        email: str,
        name: str,
        role: Role,
        password_hash: str | None,
    ) -> UserRecord:
        """As `create`, as part of a larger change, and whatever the actor's role."""
        if len(users.of_organisation(tx, actor.organisation_id)) >= MAX_USERS:
            raise InvalidRequest(f"an organisation has at most {MAX_USERS} users", param="email")
        record = UserRecord(
            id=self._registry.new_id("user-"),
            organisation_id=actor.organisation_id,
            email=checked_email(email),
            name=checked_name(name, "a user's name"),
            role=role.value,
            created_unix=self._registry.now_unix(),
        )
        if not users.add(tx, record):
            raise InvalidRequest("somebody has this e-mail address already", param="email")
        if password_hash is not None:
            users.set_password(tx, record.id, password_hash, record.created_unix)
        self._registry.note(
            tx, actor, "user.added", record.id, email=record.email, role=record.role
        )
        return record

    def set_role(self, actor: Actor, user_id: str, role: Role) -> UserRecord:
        """Change a user's role, in force from his next request on.

        Raises Forbidden for one's own and for what only owners may, InvalidRequest when no owner
        would be left.
        """
        actor.require(Permission.USERS_WRITE)
        if user_id == actor.id:
            raise Forbidden("Nobody changes his own role.", param="role")
        with self._registry.store.changing() as tx:
            record = _found(tx, actor, user_id)
            actor.require_over(Role(record.role))
            actor.require_over(role)
            if role is not Role.OWNER:
                _check_owner_stays(tx, record)
            users.set_role(tx, user_id, role.value)
            self._registry.note(
                tx, actor, "user.updated", user_id, old_role=record.role, role=role.value
            )
            return replace(record, role=role.value)

    def remove(self, actor: Actor, user_id: str) -> None:
        """Delete a user; his sessions and his keys end with him."""
        actor.require(Permission.USERS_WRITE)
        with self._registry.store.changing() as tx:
            record = _found(tx, actor, user_id)
            actor.require_over(Role(record.role))
            _check_owner_stays(tx, record)
            api_keys.revoke_of_owner(tx, actor.organisation_id, user_id, self._registry.now_unix())
            users.remove(tx, user_id)
            self._registry.note(tx, actor, "user.deleted", user_id, email=record.email)

    def reset_password(self, email: str, password_hash: str) -> UserRecord:
        """Another password for a user who forgot his, by the operator; his sessions end.

        Raises InvalidRequest when nobody has this address.
        """
        now = self._registry.now_unix()
        with self._registry.store.changing() as tx:
            record = users.by_email(tx, email.strip())
            if record is None:
                raise InvalidRequest("no user has this e-mail address", param="email")
            users.set_password(tx, record.id, password_hash, now)
            users.end_sessions(tx, record.id)
            actor = operator_in(record.organisation_id)
            self._registry.note(tx, actor, "password.changed", record.id)
        return record

    def everybody(self) -> tuple[UserRecord, ...]:
        """All users of all organisations, oldest first: the operator's."""
        with self._registry.store.reading() as tx:
            return users.everything(tx)

    def invites(self, actor: Actor) -> tuple[InviteRecord, ...]:
        """The invitations of the organisation, oldest first, in whatever state."""
        actor.require(Permission.INVITES_READ)
        with self._registry.store.reading() as tx:
            return invites.of_organisation(tx, actor.organisation_id)

    def invite_of(self, actor: Actor, invite_id: str) -> InviteRecord:
        """One of them. Raises UnknownObject."""
        actor.require(Permission.INVITES_READ)
        with self._registry.store.reading() as tx:
            return _invite(tx, actor, invite_id)

    def invite(self, actor: Actor, email: str, role: Role) -> NewInvite:
        """Invite somebody, in place of an earlier invitation of the same address."""
        actor.require(Permission.INVITES_WRITE)
        actor.require_over(role)
        now = self._registry.now_unix()
        secret = INVITE_PREFIX + base62(int.from_bytes(self._registry.token_bytes(32), "big"), 43)
        record = InviteRecord(
            id=self._registry.new_id("invite-"),
            organisation_id=actor.organisation_id,
            email=checked_email(email),
            role=role.value,
            digest=self._registry.digest(secret),
            created_unix=now,
            expires_unix=now + self._invite_s,
        )
        with self._registry.store.changing() as tx:
            if len(invites.of_organisation(tx, actor.organisation_id)) >= MAX_INVITES:
                raise InvalidRequest(
                    f"an organisation has at most {MAX_INVITES} invitations", param="email"
                )
            invites.put(tx, record)
            self._registry.note(
                tx, actor, "invite.sent", record.id, email=record.email, role=record.role
            )
        return NewInvite(invite=record, secret=secret)

    def withdraw(self, actor: Actor, invite_id: str) -> None:
        """Delete an invitation."""
        actor.require(Permission.INVITES_WRITE)
        with self._registry.store.changing() as tx:
            record = _invite(tx, actor, invite_id)
            invites.remove(tx, invite_id)
            self._registry.note(tx, actor, "invite.deleted", invite_id, email=record.email)


def checked_email(email: str) -> str:
    """An e-mail address, of a form that addresses have. Raises InvalidRequest."""
    email = email.strip()
    if len(email) > MAX_EMAIL_CHARS or not email.isprintable() or _EMAIL.fullmatch(email) is None:
        raise InvalidRequest("this is no e-mail address", param="email")
    return email


def _found(tx: Transaction, actor: Actor, user_id: str) -> UserRecord:
    record = users.one(tx, actor.organisation_id, user_id)
    if record is None:
        raise UnknownObject("user")
    return record


def _invite(tx: Transaction, actor: Actor, invite_id: str) -> InviteRecord:
    record = invites.one(tx, actor.organisation_id, invite_id)
    if record is None:
        raise UnknownObject("invitation")
    return record


def _check_owner_stays(tx: Transaction, record: UserRecord) -> None:
    is_last = users.count_role(tx, record.organisation_id, Role.OWNER.value) == 1
    if record.role == Role.OWNER and is_last:
        raise InvalidRequest("the organisation's last owner must stay one", param="role")
