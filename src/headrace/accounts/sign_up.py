"""How somebody becomes a user: by invitation, by himself where that is open, or not at all."""

import asyncio

from headrace.accounts.passwords import Passwords
from headrace.accounts.registry import Registry, checked_name
from headrace.accounts.roles import DEFAULT_ORGANISATION, Actor, ActorKind, Role
from headrace.accounts.throttle import Throttle
from headrace.accounts.tiers import Tier
from headrace.accounts.users import Users, checked_email
from headrace.config import SignUp
from headrace.errors import Forbidden
from headrace.store import (
    InviteRecord,
    OrganisationRecord,
    ProjectRecord,
    Transaction,
    UserRecord,
    invites,
    organisations,
)


class SignUps:
    """Makes users of people who come by themselves. None of them gets into an organisation, or a
    role, that nobody invited him to: of his own he is the owner, and its tier is free."""

    def __init__(
        self,
        registry: Registry,
        users: Users,
        passwords: Passwords,
        throttle: Throttle,
        mode: SignUp,
    ) -> None:
        self._registry = registry
        self._users = users
        self._passwords = passwords
        self._throttle = throttle
        self._mode = mode

    async def by_invitation(
        self, secret: str, *, name: str, password: str, address: str
    ) -> UserRecord:
        """Accept an invitation.

        Raises Forbidden for one that is unknown, expired, used, or where sign-up is closed;
        TooManyAttempts, InvalidRequest, LoginsBusy.
        """
        self._throttle.take(f"address {address}")
        invite = self._invite(secret)
        self._throttle.give_back(f"address {address}")
        password_hash = await self._passwords.hash(password)
        return await asyncio.to_thread(
            self._accept, invite, name=name, password_hash=password_hash, address=address
        )

    async def by_oneself(self, *, email: str, name: str, password: str, address: str) -> UserRecord:
        """Make a user, and his own organisation. Raises Forbidden where sign-up is not open,
        TooManyAttempts after ten a minute, InvalidRequest, LoginsBusy."""
        self._throttle.take(f"sign-up {address}")
        self._check_open()
        checked_email(email)
        password_hash = await self._passwords.hash(password)
        return await asyncio.to_thread(
            self._found_own, email=email, name=name, password_hash=password_hash, address=address
        )

    def by_identity(self, *, email: str, name: str, address: str) -> UserRecord:
        """Make a user of somebody for whom an identity provider speaks, if he may come in.

        Invitations of the server's own organisation count. Those of others need their secret: by
        them anybody could else draw in people who never heard of him. Raises Forbidden.
        """
        with self._registry.store.reading() as tx:
            invite = invites.of_email(tx, DEFAULT_ORGANISATION, email)
        if self._mode is not SignUp.CLOSED and invite is not None and self._opens(invite):
            return self._accept(invite, name=name, password_hash=None, address=address)
        self._check_open()
        return self._found_own(email=email, name=name, password_hash=None, address=address)

    def _check_open(self) -> None:
        if self._mode is not SignUp.OPEN:
            raise Forbidden("Sign-up is by invitation only, or closed.", param="invite")

    def _invite(self, secret: str) -> InviteRecord:
        with self._registry.store.reading() as tx:
            invite = invites.by_digest(tx, self._registry.digest(secret))
        if self._mode is SignUp.CLOSED or invite is None or not self._opens(invite):
            raise Forbidden("This invitation does not open, or no more.", param="invite")
        return invite

    def _opens(self, invite: InviteRecord) -> bool:
        return invite.accepted_unix is None and self._registry.now_unix() < invite.expires_unix

    def _accept(
        self, invite: InviteRecord, *, name: str, password_hash: str | None, address: str
    ) -> UserRecord:
        actor = _newcomer(invite.email, invite.organisation_id, address)
        with self._registry.store.changing() as tx:
            if not invites.accept(tx, invite.id, self._registry.now_unix()):
                raise Forbidden("This invitation does not open, or no more.", param="invite")
            self._registry.note(tx, actor, "invite.accepted", invite.id, email=invite.email)
            return self._users.create_in(
                tx,
                actor,
                email=invite.email,
                name=name,
                role=Role(invite.role),
                password_hash=password_hash,
            )

    def _found_own(
        self, *, email: str, name: str, password_hash: str | None, address: str
    ) -> UserRecord:
        name = checked_name(name, "a user's name")
        with self._registry.store.changing() as tx:
            organisation_id = self._new_organisation(tx, name)
            actor = _newcomer(email, organisation_id, address)
            self._registry.note(tx, actor, "organization.created", organisation_id, name=name)
            return self._users.create_in(
                tx,
                actor,
                email=email,
                name=name,
                role=Role.OWNER,
                password_hash=password_hash,
            )

    def _new_organisation(self, tx: Transaction, name: str) -> str:
        now = self._registry.now_unix()
        organisation = OrganisationRecord(
            id=self._registry.new_id("org_"), name=name, tier=Tier.FREE.value, created_unix=now
        )
        organisations.add(tx, organisation)
        project = ProjectRecord(
            id=self._registry.new_id("proj_"),
            organisation_id=organisation.id,
            name="Default",
            created_unix=now,
        )
        organisations.add_project(tx, project)
        return organisation.id


def _newcomer(email: str, organisation_id: str, address: str) -> Actor:
    """Who acts before he has an account: he may nothing but what sign-up does for him."""
    return Actor(
        kind=ActorKind.USER,
        id="",
        name=email,
        organisation_id=organisation_id,
        role=Role.VIEWER,
        address=address,
    )
