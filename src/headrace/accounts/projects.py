"""Projects and their service accounts."""

from dataclasses import replace

from headrace.accounts.api_keys import ApiKeys, KeyDraft, NewKey
from headrace.accounts.registry import Registry, checked_name
from headrace.accounts.roles import DEFAULT_PROJECT, Actor, Permission
from headrace.errors import InvalidRequest, UnknownObject
from headrace.store import (
    ProjectRecord,
    ServiceAccountRecord,
    Transaction,
    api_keys,
    organisations,
)

MAX_PROJECTS = 500  # of an organisation, archived ones too
MAX_SERVICE_ACCOUNTS = 500  # of a project


class Projects:
    """The projects of all organisations; each method acts in the actor's own."""

    def __init__(self, registry: Registry, keys: ApiKeys) -> None:
        self._registry = registry
        self._keys = keys

    def all(self, actor: Actor) -> tuple[ProjectRecord, ...]:
        """Oldest first, archived ones included."""
        actor.require(Permission.PROJECTS_READ)
        with self._registry.store.reading() as tx:
            return organisations.projects(tx, actor.organisation_id)

    def one(self, actor: Actor, project_id: str) -> ProjectRecord:
        """The project of this id. Raises UnknownObject."""
        actor.require(Permission.PROJECTS_READ)
        with self._registry.store.reading() as tx:
            return _found(tx, actor, project_id)

    def create(self, actor: Actor, name: str) -> ProjectRecord:
        """Make a project. Raises InvalidRequest for an odd name, or when there are too many."""
        actor.require(Permission.PROJECTS_WRITE)
        record = ProjectRecord(
            id=self._registry.new_id("proj_"),
            organisation_id=actor.organisation_id,
            name=checked_name(name, "a project's name"),
            created_unix=self._registry.now_unix(),
        )
        with self._registry.store.changing() as tx:
            if len(organisations.projects(tx, actor.organisation_id)) >= MAX_PROJECTS:
                raise InvalidRequest(
                    f"an organisation has at most {MAX_PROJECTS} projects", param="name"
                )
            organisations.add_project(tx, record)
            self._registry.note(tx, actor, "project.created", record.id, name=record.name)
        return record

    def rename(self, actor: Actor, project_id: str, name: str) -> ProjectRecord:
        """Give a project another name."""
        actor.require(Permission.PROJECTS_WRITE)
        name = checked_name(name, "a project's name")
        with self._registry.store.changing() as tx:
            record = _found(tx, actor, project_id)
            organisations.rename_project(tx, project_id, name)
            self._registry.note(tx, actor, "project.updated", project_id, name=name)
            return replace(record, name=name)

    def archive(self, actor: Actor, project_id: str) -> ProjectRecord:
        """End a project and all its keys. There is no way back."""
        actor.require(Permission.PROJECTS_WRITE)
        now = self._registry.now_unix()
        with self._registry.store.changing() as tx:
            record = _found(tx, actor, project_id)
            if project_id == DEFAULT_PROJECT:
                raise InvalidRequest(
                    "the server's first project stays: the command line makes its keys in it",
                    param="project_id",
                )
            if organisations.archive_project(tx, project_id, now):
                api_keys.revoke_of_project(tx, actor.organisation_id, project_id, now)
                self._registry.note(tx, actor, "project.archived", project_id, name=record.name)
                record = replace(record, archived_unix=now)
            return record

    def service_accounts(self, actor: Actor, project_id: str) -> tuple[ServiceAccountRecord, ...]:
        """Those of a project, oldest first."""
        actor.require(Permission.SERVICE_ACCOUNTS_READ)
        with self._registry.store.reading() as tx:
            _found(tx, actor, project_id)
            return organisations.service_accounts(tx, actor.organisation_id, project_id)

    def service_account(
        self, actor: Actor, project_id: str, account_id: str
    ) -> ServiceAccountRecord:
        """One of them. Raises UnknownObject."""
        actor.require(Permission.SERVICE_ACCOUNTS_READ)
        with self._registry.store.reading() as tx:
            return _account(tx, actor, project_id, account_id)

    def create_service_account(
        self, actor: Actor, project_id: str, name: str
    ) -> tuple[ServiceAccountRecord, NewKey]:
        """Make a service account, and its first key."""
        actor.require(Permission.SERVICE_ACCOUNTS_WRITE)
        record = ServiceAccountRecord(
            id=self._registry.new_id("svc_"),
            organisation_id=actor.organisation_id,
            project_id=project_id,
            name=checked_name(name, "a service account's name"),
            created_unix=self._registry.now_unix(),
        )
        with self._registry.store.changing() as tx:
            _found(tx, actor, project_id)
            known = organisations.service_accounts(tx, actor.organisation_id, project_id)
            if len(known) >= MAX_SERVICE_ACCOUNTS:
                raise InvalidRequest(
                    f"a project has at most {MAX_SERVICE_ACCOUNTS} service accounts", param="name"
                )
            organisations.add_service_account(tx, record)
            self._registry.note(tx, actor, "service_account.created", record.id, name=record.name)
            draft = KeyDraft(name=record.name)
            key = self._keys.create_in(tx, actor, project_id, draft, owner_id=record.id)
        return record, key

    def remove_service_account(self, actor: Actor, project_id: str, account_id: str) -> None:
        """Delete a service account, and end its keys."""
        actor.require(Permission.SERVICE_ACCOUNTS_WRITE)
        now = self._registry.now_unix()
        with self._registry.store.changing() as tx:
            record = _account(tx, actor, project_id, account_id)
            api_keys.revoke_of_owner(tx, actor.organisation_id, account_id, now)
            organisations.remove_service_account(tx, account_id)
            self._registry.note(tx, actor, "service_account.deleted", account_id, name=record.name)


def _found(tx: Transaction, actor: Actor, project_id: str) -> ProjectRecord:
    record = organisations.project(tx, actor.organisation_id, project_id)
    if record is None:
        raise UnknownObject("project")
    return record


def _account(
    tx: Transaction, actor: Actor, project_id: str, account_id: str
) -> ServiceAccountRecord:
    record = organisations.service_account(tx, actor.organisation_id, project_id, account_id)
    if record is None:
        raise UnknownObject("service account")
    return record
