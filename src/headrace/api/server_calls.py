"""The calls of those who run the server: whose organisations it has, and which tiers there are."""

from collections.abc import Sequence
from typing import Any

from headrace.accounts import Permission, Tier
from headrace.api.organisation import Asked, Call, get, post
from headrace.api.organisation_objects import Object, audit_page
from headrace.api.organisation_schemas import TierBody
from headrace.api.server_objects import organisation_object, tier_object
from headrace.store import OrganisationRecord


def _with_balance(asked: Asked, record: OrganisationRecord) -> Object:
    return organisation_object(record, asked.money.books.balance(record.id))


def _organisations(asked: Asked) -> Object:
    found = asked.accounts.organisations.seen_by(asked.actor)
    return asked.listed(found, lambda each: _with_balance(asked, each))


def _set_tier(asked: Asked, body: TierBody) -> Object:
    organisation_id = asked.ids["organization_id"]
    changed = asked.accounts.organisations.set_tier(organisation_id, Tier(body.tier), asked.actor)
    return _with_balance(asked, changed)


def _audit_log(asked: Asked) -> Object:
    rows = asked.accounts.audit_log_of_all(asked.actor, after=asked.after, limit=asked.limit + 1)
    return audit_page(rows, limit=asked.limit)


def _tiers(asked: Asked) -> Object:
    asked.actor.require(Permission.USAGE_READ)
    return asked.listed(list(asked.money.desk.tiers.items()), tier_object)


SERVER_CALLS: Sequence[Call[Any]] = (
    get(
        "/organizations",
        "All organisations of the server, with their credit",
        "Organizations",
        _organisations,
        is_list=True,
    ),
    post(
        "/organizations/{organization_id}",
        "Give an organisation another tier",
        "Organization",
        TierBody,
        _set_tier,
    ),
    get(
        "/server/audit_logs",
        "Who changed what in all organisations, newest first",
        "AuditLogs",
        _audit_log,
        is_list=True,
    ),
    get("/tiers", "What accounts of each tier may use", "Tiers", _tiers, is_list=True),
)
