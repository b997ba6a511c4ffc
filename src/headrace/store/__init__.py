"""The only SQL: what must survive the process."""

from headrace.store import (
    api_keys,
    audit,
    copies,
    invites,
    ledger,
    organisations,
    service_hours,
    usage_sums,
    users,
)
from headrace.store.api_keys import KeyRecord
from headrace.store.audit import AuditRecord
from headrace.store.invites import InviteRecord
from headrace.store.ledger import LedgerRecord, UsageRecord, Used
from headrace.store.organisations import OrganisationRecord, ProjectRecord, ServiceAccountRecord
from headrace.store.service_hours import ServiceHourRecord
from headrace.store.sqlite import SqliteStore, Transaction
from headrace.store.usage_sums import UsageSum
from headrace.store.users import SessionRecord, UserRecord

__all__ = [
    "AuditRecord",
    "InviteRecord",
    "KeyRecord",
    "LedgerRecord",
    "OrganisationRecord",
    "ProjectRecord",
    "ServiceAccountRecord",
    "ServiceHourRecord",
    "SessionRecord",
    "SqliteStore",
    "Transaction",
    "UsageRecord",
    "UsageSum",
    "Used",
    "UserRecord",
    "api_keys",
    "audit",
    "copies",
    "invites",
    "ledger",
    "organisations",
    "service_hours",
    "usage_sums",
    "users",
]
