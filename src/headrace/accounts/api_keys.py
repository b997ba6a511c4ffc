"""API keys: made, shown, restricted, rotated and revoked, each by somebody who may."""

from dataclasses import dataclass, replace

from headrace.accounts.account import (
    UNLIMITED,
    UNSCOPED,
    KeyLimits,
    Scopes,
    as_json,
    check_limits,
    check_scopes,
    read_limits,
    read_scopes,
)
from headrace.accounts.keys import generate_key
from headrace.accounts.registry import Registry, checked_name
from headrace.accounts.roles import Actor, ActorKind, Permission, Role
from headrace.accounts.tiers import Tier
from headrace.errors import InvalidRequest, UnknownObject
from headrace.store import KeyRecord, Transaction, api_keys, organisations

MAX_KEYS = 1_000  # active ones of a project; chosen: a page of them is read in a millisecond
MAX_OVERLAP_S = 30 * 86_400  # how long a rotated key may go on


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What may be shown of a key after its creation."""

    id: str
    name: str
    tier: Tier
    prefix: str
    last4: str
    created_unix: int
    revoked_unix: int | None
    last_used_unix: int | None  # to the minute
    expires_unix: int | None
    organisation_id: str
    project_id: str | None  # None: for management
    owner_id: str | None  # a user or a service account; None: the operator
    role: Role | None  # of a key for management
    scopes: Scopes
    limits: KeyLimits

    @property
    def is_active(self) -> bool:
        """Whether it is not revoked; it may have expired."""
        return self.revoked_unix is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made: the one time its secret is shown."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDraft:
    """What a key to be made is to be."""

    name: str
    scopes: Scopes = UNSCOPED
    limits: KeyLimits = UNLIMITED
    expires_unix: int | None = None
    tier: Tier | None = None  # None: its organisation's; only the operator says
    role: Role | None = None  # of a key for management


class ApiKeys:
    """The keys of all organisations; each method acts in the actor's own.

    A key that the actor may not see is unknown to him: UnknownObject, as for one that is not.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def create(
        self, actor: Actor, project_id: str, draft: KeyDraft, *, owner_id: str | None = None
    ) -> NewKey:
        """Make a key of a project, for the actor himself or for a service account.

        Raises InvalidRequest for a name that is taken or what cannot be kept.
        """
        actor.require(Permission.KEYS_WRITE)
        with self._registry.store.changing() as tx:
            return self.create_in(tx, actor, project_id, draft, owner_id=owner_id)

    def create_in(
        self,
        tx: Transaction,
        actor: Actor,
        project_id: str,
        draft: KeyDraft,
        *,
        owner_id: str | None = None,
    ) -> NewKey:
        """As `create`, as part of a larger change."""
        project = organisations.project(tx, actor.organisation_id, project_id)
        if project is None:
            raise UnknownObject("project")
        if project.archived_unix is not None:
            raise InvalidRequest("the project is archived", param="project_id")
        if owner_id is None and actor.kind is ActorKind.USER:
            owner_id = actor.id
        return self._issue(tx, actor, project_id, draft, owner_id)

    def create_for_management(self, actor: Actor, draft: KeyDraft) -> NewKey:
        """Make a key that manages the organisation with a role, and completes nothing."""
        actor.require(Permission.MANAGEMENT_KEYS)
        if draft.role is None:
            raise InvalidRequest("a key for management has a role", param="role")
        with self._registry.store.changing() as tx:
            return self._issue(tx, actor, None, draft, None)

    def of_project(self, actor: Actor, project_id: str) -> tuple[ApiKey, ...]:
        """The keys of a project that the actor may see, oldest first, without revoked ones."""
        actor.require(Permission.KEYS_READ)
        with self._registry.store.reading() as tx:
            if organisations.project(tx, actor.organisation_id, project_id) is None:
                raise UnknownObject("project")
            records = api_keys.of_project(tx, actor.organisation_id, project_id)
        return tuple(shown(record) for record in records if _may_see(actor, record))

    def for_management(self, actor: Actor) -> tuple[ApiKey, ...]:
        """The keys for management of the organisation, oldest first, without revoked ones."""
        actor.require(Permission.MANAGEMENT_KEYS)
        with self._registry.store.reading() as tx:
            records = api_keys.of_project(tx, actor.organisation_id, None)
        return tuple(shown(record) for record in records)

    def whose_use_is_seen_by(self, actor: Actor) -> frozenset[str] | None:
        """Ids of the keys whose use the actor may see, ended ones too; None: of all."""
        actor.require(Permission.USAGE_READ)
        if actor.may(Permission.USAGE_OF_OTHERS):
            return None
        with self._registry.store.reading() as tx:
            return api_keys.of_owner(tx, actor.organisation_id, actor.id)

    def one(self, actor: Actor, project_id: str | None, key_id: str) -> ApiKey:
        """A key of a project; None: one for management."""
        actor.require(_needed(project_id, Permission.KEYS_READ))
        with self._registry.store.reading() as tx:
            return shown(self._found(tx, actor, project_id, key_id))

    def restrict(
        self,
        actor: Actor,
        project_id: str,
        key_id: str,
        *,
        scopes: Scopes | None = None,
        limits: KeyLimits | None = None,
        expires_unix: int | None = None,
    ) -> ApiKey:
        """Change what a key may do, in force from its next request on; None leaves it as it is."""
        actor.require(Permission.KEYS_RESTRICT)
        with self._registry.store.changing() as tx:
            old = self._found(tx, actor, project_id, key_id)
            new = replace(
                old,
                scopes=old.scopes if scopes is None else as_json(check_scopes(scopes)),
                limits=old.limits if limits is None else as_json(check_limits(limits)),
                expires_unix=(
                    old.expires_unix if expires_unix is None else self._checked_end(expires_unix)
                ),
            )
            api_keys.restrict(tx, new)
            self._registry.note(
                tx, actor, "api_key.updated", key_id, scopes=new.scopes, limits=new.limits
            )
            return shown(new)

    def rotate(
        self, actor: Actor, project_id: str | None, key_id: str, *, overlap_s: int = 0
    ) -> NewKey:
        """Replace an active key by a new one that is the same but for its secret.

        The old one ends after `overlap_s` seconds; with 0 it is revoked with the same commit.
        """
        actor.require(_needed(project_id, Permission.KEYS_WRITE))
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidRequest(
                f"overlap_seconds: must be between 0 and {MAX_OVERLAP_S}", param="overlap_seconds"
            )
        now = self._registry.now_unix()
        with self._registry.store.changing() as tx:
            old = self._found(tx, actor, project_id, key_id)
            if overlap_s == 0:
                is_done = api_keys.revoke(tx, old.id, now)
            else:
                is_done = api_keys.supersede(tx, old.id, now, now + overlap_s)
            if not is_done:
                raise UnknownObject("active key")
            new, secret = self._drawn(old)
            api_keys.add(tx, new)
            self._registry.note(
                tx, actor, "api_key.rotated", old.id, new_id=new.id, overlap_s=overlap_s
            )
            return NewKey(key=shown(new), secret=secret)

    def revoke(self, actor: Actor, project_id: str | None, key_id: str) -> ApiKey:
        """End a key, on every server of this database, from its next request on."""
        actor.require(_needed(project_id, Permission.KEYS_WRITE))
        now = self._registry.now_unix()
        with self._registry.store.changing() as tx:
            record = self._found(tx, actor, project_id, key_id)
            api_keys.revoke(tx, key_id, now)
            self._registry.note(tx, actor, "api_key.deleted", key_id, name=record.name)
            return shown(replace(record, revoked_unix=now))

    def everybodys(self) -> tuple[ApiKey, ...]:
        """All keys of all organisations, oldest first, revoked ones included: the operator's."""
        with self._registry.store.reading() as tx:
            return tuple(shown(record) for record in api_keys.everything(tx))

    def _issue(
        self,
        tx: Transaction,
        actor: Actor,
        project_id: str | None,
        draft: KeyDraft,
        owner_id: str | None,
    ) -> NewKey:
        organisation = organisations.one(tx, actor.organisation_id)
        assert organisation is not None, "an actor has an organisation"
        if len(api_keys.of_project(tx, organisation.id, project_id)) >= MAX_KEYS:
            raise InvalidRequest(f"a project has at most {MAX_KEYS} active keys", param="name")
        ends = None if draft.expires_unix is None else self._checked_end(draft.expires_unix)
        record, secret = self._drawn(
            KeyRecord(
                id="",
                organisation_id=organisation.id,
                project_id=project_id,
                role=None if draft.role is None else draft.role.value,
                owner_id=owner_id,
                name=checked_name(draft.name, "a key's name"),
                tier=None if draft.tier is None else draft.tier.value,
                prefix="",
                last4="",
                digest=b"",
                scopes=as_json(check_scopes(draft.scopes)),
                limits=as_json(check_limits(draft.limits)),
                created_unix=0,
                expires_unix=ends,
                organisation_tier=organisation.tier,
            )
        )
        if not api_keys.add(tx, record):
            raise InvalidRequest(
                f"an active key named '{record.name}' exists already: "
                "choose another name, or rotate or revoke that key",
                param="name",
            )
        self._registry.note(
            tx, actor, "api_key.created", record.id, name=record.name, project_id=project_id
        )
        return NewKey(key=shown(record), secret=secret)

    def _drawn(self, like: KeyRecord) -> tuple[KeyRecord, str]:
        """A new key that is like another, and its secret."""
        secret = generate_key(self._registry.token_bytes)
        record = replace(
            like,
            id=self._registry.new_id("key_"),
            prefix=secret[:7],
            last4=secret[-4:],
            digest=self._registry.digest(secret),
            created_unix=self._registry.now_unix(),
            last_used_unix=None,
        )
        return record, secret

    def _found(
        self, tx: Transaction, actor: Actor, project_id: str | None, key_id: str
    ) -> KeyRecord:
        record = api_keys.one(tx, actor.organisation_id, key_id)
        if (
            record is None
            or record.project_id != project_id
            or record.revoked_unix is not None
            or not _may_see(actor, record)
        ):
            raise UnknownObject("active key")
        return record

    def _checked_end(self, expires_unix: int) -> int:
        if not self._registry.now_unix() < expires_unix < 1 << 40:
            raise InvalidRequest("expires_at: must be a time to come", param="expires_at")
        return expires_unix


def shown(record: KeyRecord) -> ApiKey:
    """What may be shown of a key's row."""
    return ApiKey(
        id=record.id,
        name=record.name,
        tier=Tier(record.tier_in_force),
        prefix=record.prefix,
        last4=record.last4,
        created_unix=record.created_unix,
        revoked_unix=record.revoked_unix,
        last_used_unix=record.last_used_unix,
        expires_unix=record.expires_unix,
        organisation_id=record.organisation_id,
        project_id=record.project_id,
        owner_id=record.owner_id,
        role=None if record.role is None else Role(record.role),
        scopes=read_scopes(record.scopes),
        limits=read_limits(record.limits),
    )


def _may_see(actor: Actor, record: KeyRecord) -> bool:
    return actor.may(Permission.KEYS_OF_OTHERS) or record.owner_id == actor.id


def _needed(project_id: str | None, permission: Permission) -> Permission:
    return Permission.MANAGEMENT_KEYS if project_id is None else permission
