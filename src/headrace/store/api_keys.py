"""The rows of `api_keys`. The keys themselves are nowhere: a row has their digest."""

from dataclasses import dataclass
from typing import Any

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One row, and the tier of the organisation that it belongs to."""

    id: str
    organisation_id: str
    project_id: str | None  # None: for management, of the organisation
    role: str | None = None  # of a key for management
    owner_id: str | None = None  # a user or a service account; None: the operator
    name: str
    tier: str | None = None  # None: its organisation's
    prefix: str
    last4: str
    digest: bytes  # 32 bytes
    scopes: str = "{}"  # JSON
    limits: str = "{}"  # JSON
    created_unix: int
    expires_unix: int | None = None
    revoked_unix: int | None = None
    replaced_unix: int | None = None  # rotated: the new one has its name
    last_used_unix: int | None = None  # to the minute
    organisation_tier: str = ""  # read only

    @property
    def tier_in_force(self) -> str:
        """Its own tier, or its organisation's."""
        return self.tier or self.organisation_tier


_COLUMNS = (
    "SELECT api_keys.id, organisation_id, project_id, role, owner_id, api_keys.name,"
    " api_keys.tier, prefix, last4, digest, scopes, limits, api_keys.created_unix, expires_unix,"
    " revoked_unix, replaced_unix, last_used_unix, organisations.tier"
    " FROM api_keys JOIN organisations ON organisations.id = organisation_id"
)
_BY_DIGEST = _COLUMNS + " WHERE digest = ?"
_ALL = _COLUMNS + " ORDER BY api_keys.created_unix, api_keys.id"
_ONE = _COLUMNS + " WHERE organisation_id = ? AND api_keys.id = ?"
_OF_PROJECT = (
    _COLUMNS
    + " WHERE organisation_id = ? AND project_id IS ? AND revoked_unix IS NULL"
    + " ORDER BY api_keys.created_unix, api_keys.id"
)


def add(tx: Transaction, record: KeyRecord) -> bool:
    """Insert a key; False when an active key of its project has its name."""
    done = tx.execute(
        "INSERT INTO api_keys (id, organisation_id, project_id, role, owner_id, name, tier,"
        " prefix, last4, digest, scopes, limits, created_unix, expires_unix)"
        " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
        " (SELECT 1 FROM api_keys WHERE organisation_id = ? AND project_id IS ? AND name = ?"
        " AND revoked_unix IS NULL AND replaced_unix IS NULL)",
        (
            record.id,
            record.organisation_id,
            record.project_id,
            record.role,
            record.owner_id,
            record.name,
            record.tier,
            record.prefix,
            record.last4,
            record.digest,
            record.scopes,
            record.limits,
            record.created_unix,
            record.expires_unix,
            record.organisation_id,
            record.project_id,
            record.name,
        ),
    )
    return done.rowcount == 1


def by_digest(tx: Transaction, digest: bytes) -> KeyRecord | None:
    """The key of this digest, revoked or not; two indexed look-ups of some 20 µs together."""
    row = tx.execute(_BY_DIGEST, (digest,)).fetchone()
    return None if row is None else _record(row)


def one(tx: Transaction, organisation_id: str, key_id: str) -> KeyRecord | None:
    """The key of this id, if it is the organisation's."""
    row = tx.execute(_ONE, (organisation_id, key_id)).fetchone()
    return None if row is None else _record(row)


def of_project(
    tx: Transaction, organisation_id: str, project_id: str | None
) -> tuple[KeyRecord, ...]:
    """The keys of a project that are not revoked, oldest first; None: those for management."""
    rows = tx.execute(_OF_PROJECT, (organisation_id, project_id)).fetchall()
    return tuple(_record(row) for row in rows)


def of_owner(tx: Transaction, organisation_id: str, owner_id: str) -> frozenset[str]:
    """Ids of the keys of an owner, ended ones too."""
    rows = tx.execute(
        "SELECT id FROM api_keys WHERE organisation_id = ? AND owner_id = ?",
        (organisation_id, owner_id),
    )
    return frozenset(row[0] for row in rows)


def everything(tx: Transaction) -> tuple[KeyRecord, ...]:
    """All keys of all organisations, oldest first, revoked ones included."""
    return tuple(_record(row) for row in tx.execute(_ALL).fetchall())


def revoke(tx: Transaction, key_id: str, revoked_unix: int) -> bool:
    """Mark an active key as revoked; False when there is none of this id."""
    done = tx.execute(
        "UPDATE api_keys SET revoked_unix = ? WHERE id = ? AND revoked_unix IS NULL",
        (revoked_unix, key_id),
    )
    return done.rowcount == 1


def supersede(tx: Transaction, key_id: str, replaced_unix: int, ends_unix: int) -> bool:
    """Give a key's name free and let it end at `ends_unix`, or sooner if it would have anyway."""
    done = tx.execute(
        "UPDATE api_keys SET replaced_unix = ?, expires_unix = min(coalesce(expires_unix, ?), ?)"
        " WHERE id = ? AND revoked_unix IS NULL AND replaced_unix IS NULL",
        (replaced_unix, ends_unix, ends_unix, key_id),
    )
    return done.rowcount == 1


def restrict(tx: Transaction, record: KeyRecord) -> None:
    """Write a key's scopes, limits and expiry anew."""
    tx.execute(
        "UPDATE api_keys SET scopes = ?, limits = ?, expires_unix = ? WHERE id = ?",
        (record.scopes, record.limits, record.expires_unix, record.id),
    )


def revoke_of_project(tx: Transaction, organisation_id: str, project_id: str, now: int) -> None:
    """Revoke the active keys of a project."""
    tx.execute(
        "UPDATE api_keys SET revoked_unix = ?"
        " WHERE organisation_id = ? AND project_id = ? AND revoked_unix IS NULL",
        (now, organisation_id, project_id),
    )


def revoke_of_owner(tx: Transaction, organisation_id: str, owner_id: str, now: int) -> None:
    """Revoke the active keys of a user or a service account."""
    tx.execute(
        "UPDATE api_keys SET revoked_unix = ?"
        " WHERE organisation_id = ? AND owner_id = ? AND revoked_unix IS NULL",
        (now, organisation_id, owner_id),
    )


def touch(tx: Transaction, key_id: str, last_used_unix: int) -> None:
    """Note when a key was last used."""
    tx.execute("UPDATE api_keys SET last_used_unix = ? WHERE id = ?", (last_used_unix, key_id))


def _record(row: tuple[Any, ...]) -> KeyRecord:
    return KeyRecord(
        id=row[0],
        organisation_id=row[1],
        project_id=row[2],
        role=row[3],
        owner_id=row[4],
        name=row[5],
        tier=row[6],
        prefix=row[7],
        last4=row[8],
        digest=row[9],
        scopes=row[10],
        limits=row[11],
        created_unix=row[12],
        expires_unix=row[13],
        revoked_unix=row[14],
        replaced_unix=row[15],
        last_used_unix=row[16],
        organisation_tier=row[17],
    )
