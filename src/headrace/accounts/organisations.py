"""Organisations: what one is, and its tier, which only those who run the server change."""

from dataclasses import replace

from headrace.accounts.registry import Registry
from headrace.accounts.roles import OPERATOR, Actor, Permission
from headrace.accounts.tiers import Tier
from headrace.errors import InvalidRequest
from headrace.store import OrganisationRecord, organisations


class Organisations:
    """All of them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def one(self, organisation_id: str) -> OrganisationRecord:
        """The organisation of an account or an actor."""
        with self._registry.store.reading() as tx:
            found = organisations.one(tx, organisation_id)
        assert found is not None, "organisations are never deleted"
        return found

    def all(self) -> tuple[OrganisationRecord, ...]:
        """Oldest first."""
        with self._registry.store.reading() as tx:
            return organisations.everything(tx)

    def seen_by(self, actor: Actor) -> tuple[OrganisationRecord, ...]:
        """As `all`, for an actor of the server's own. Raises Forbidden."""
        actor.require_of_server(Permission.SERVER_READ)
        return self.all()

    def set_tier(
        self, organisation_id: str, tier: Tier, actor: Actor = OPERATOR
    ) -> OrganisationRecord:
        """Change a tier, in force from the next request on. Raises InvalidRequest for no id,
        Forbidden for an actor who does not run the server.

        Both organisations write it down: that of the actor with his name, the other without.
        """
        actor.require_of_server(Permission.SERVER_WRITE)
        with self._registry.store.changing() as tx:
            if not organisations.set_tier(tx, organisation_id, tier.value):
                raise InvalidRequest(
                    f"no organisation has the id '{organisation_id}': see "
                    "`headrace organisations list`",
                    param="organisation",
                )
            for signer in _signers(actor, organisation_id):
                self._registry.note(
                    tx, signer, "organization.updated", organisation_id, tier=tier.value
                )
        return self.one(organisation_id)


def _signers(actor: Actor, organisation_id: str) -> tuple[Actor, ...]:
    """As whom a change of an organisation is written down, a row each."""
    if actor is OPERATOR:
        return (operator_in(organisation_id),)
    if actor.organisation_id == organisation_id:
        return (actor,)
    return (actor, operator_in(organisation_id))


def operator_in(organisation_id: str) -> Actor:
    """The operator, at work in an organisation."""
    return replace(OPERATOR, organisation_id=organisation_id)
