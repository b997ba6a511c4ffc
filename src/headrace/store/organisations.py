"""The rows of `organisations`, `projects` and `service_accounts`."""

from dataclasses import dataclass

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRecord:
    """One row of `organisations`."""

    id: str
    name: str
    tier: str
    created_unix: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """One row of `projects`."""

    id: str
    organisation_id: str
    name: str
    created_unix: int
    archived_unix: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountRecord:
    """One row of `service_accounts`: an owner of keys that is nobody."""

    id: str
    organisation_id: str
    project_id: str
    name: str
    created_unix: int


_ORGANISATIONS = "SELECT id, name, tier, created_unix FROM organisations"
_ORGANISATION = _ORGANISATIONS + " WHERE id = ?"
_ORGANISATIONS_BY_AGE = _ORGANISATIONS + " ORDER BY created_unix, id"
_PROJECTS = "SELECT id, organisation_id, name, created_unix, archived_unix FROM projects"
_PROJECT = _PROJECTS + " WHERE organisation_id = ? AND id = ?"
_PROJECTS_OF = _PROJECTS + " WHERE organisation_id = ? ORDER BY created_unix, id"
_SERVICE_ACCOUNTS = (
    "SELECT id, organisation_id, project_id, name, created_unix FROM service_accounts"
    " WHERE organisation_id = ? AND project_id = ?"
)
_SERVICE_ACCOUNTS_OF = _SERVICE_ACCOUNTS + " ORDER BY created_unix, id"
_SERVICE_ACCOUNT = _SERVICE_ACCOUNTS + " AND id = ?"


def add(tx: Transaction, record: OrganisationRecord) -> None:
    """Insert an organisation."""
    tx.execute(
        "INSERT INTO organisations (id, name, tier, created_unix) VALUES (?, ?, ?, ?)",
        (record.id, record.name, record.tier, record.created_unix),
    )


def one(tx: Transaction, organisation_id: str) -> OrganisationRecord | None:
    """The organisation of this id."""
    row = tx.execute(_ORGANISATION, (organisation_id,)).fetchone()
    return None if row is None else _organisation(row)


def everything(tx: Transaction) -> tuple[OrganisationRecord, ...]:
    """All organisations, oldest first."""
    return tuple(_organisation(row) for row in tx.execute(_ORGANISATIONS_BY_AGE).fetchall())


def set_tier(tx: Transaction, organisation_id: str, tier: str) -> bool:
    """Change an organisation's tier; False when there is none of this id."""
    done = tx.execute("UPDATE organisations SET tier = ? WHERE id = ?", (tier, organisation_id))
    return done.rowcount == 1


def add_project(tx: Transaction, record: ProjectRecord) -> None:
    """Insert a project."""
    tx.execute(
        "INSERT INTO projects (id, organisation_id, name, created_unix) VALUES (?, ?, ?, ?)",
        (record.id, record.organisation_id, record.name, record.created_unix),
    )


def project(tx: Transaction, organisation_id: str, project_id: str) -> ProjectRecord | None:
    """The project of this id, if it is the organisation's."""
    row = tx.execute(_PROJECT, (organisation_id, project_id)).fetchone()
    return None if row is None else _project(row)


def projects(tx: Transaction, organisation_id: str) -> tuple[ProjectRecord, ...]:
    """All projects of an organisation, oldest first, archived ones included."""
    return tuple(_project(row) for row in tx.execute(_PROJECTS_OF, (organisation_id,)).fetchall())


def rename_project(tx: Transaction, project_id: str, name: str) -> None:
    """Change a project's name."""
    tx.execute("UPDATE projects SET name = ? WHERE id = ?", (name, project_id))


def archive_project(tx: Transaction, project_id: str, archived_unix: int) -> bool:
    """Mark a project as archived; False when it is already."""
    done = tx.execute(
        "UPDATE projects SET archived_unix = ? WHERE id = ? AND archived_unix IS NULL",
        (archived_unix, project_id),
    )
    return done.rowcount == 1


def add_service_account(tx: Transaction, record: ServiceAccountRecord) -> None:
    """Insert a service account."""
    tx.execute(
        "INSERT INTO service_accounts (id, organisation_id, project_id, name, created_unix)"
        " VALUES (?, ?, ?, ?, ?)",
        (record.id, record.organisation_id, record.project_id, record.name, record.created_unix),
    )


def service_account(
    tx: Transaction, organisation_id: str, project_id: str, account_id: str
) -> ServiceAccountRecord | None:
    """The service account of this id, if it is the project's."""
    row = tx.execute(_SERVICE_ACCOUNT, (organisation_id, project_id, account_id)).fetchone()
    return None if row is None else _service_account(row)


def service_accounts(
    tx: Transaction, organisation_id: str, project_id: str
) -> tuple[ServiceAccountRecord, ...]:
    """The service accounts of a project, oldest first."""
    rows = tx.execute(_SERVICE_ACCOUNTS_OF, (organisation_id, project_id)).fetchall()
    return tuple(_service_account(row) for row in rows)


def remove_service_account(tx: Transaction, account_id: str) -> None:
    """Delete a service account."""
    tx.execute("DELETE FROM service_accounts WHERE id = ?", (account_id,))


def _organisation(row: tuple[str, str, str, int]) -> OrganisationRecord:
    return OrganisationRecord(id=row[0], name=row[1], tier=row[2], created_unix=row[3])


def _project(row: tuple[str, str, str, int, int | None]) -> ProjectRecord:
    return ProjectRecord(
        id=row[0],
        organisation_id=row[1],
        name=row[2],
        created_unix=row[3],
        archived_unix=row[4],
    )


def _service_account(row: tuple[str, str, str, str, int]) -> ServiceAccountRecord:
    return ServiceAccountRecord(
        id=row[0], organisation_id=row[1], project_id=row[2], name=row[3], created_unix=row[4]
    )
