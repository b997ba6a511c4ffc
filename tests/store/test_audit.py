"""The audit log is added to, and never changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.store import AuditRecord, SqliteStore, audit

ROW = AuditRecord(
    id="audit_log-1",
    organisation_id="org_default",
    at_unix=1,
    action="project.created",
    actor_kind="operator",
    actor_id="operator",
    actor_name="operator",
    address="",
    target_id="proj_1",
    details="{}",
)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET actor_name = 'x'", "DELETE FROM audit_log", "REPLACE INTO audit_log"],
)
def test_no_statement_changes_a_row(statement: str, tmp_path: Path):
    store = SqliteStore(tmp_path / "headrace.db", ManualClock())
    with store.changing() as tx:
        audit.append(tx, ROW)
    if statement.startswith("REPLACE"):
        statement += (
            " SELECT number, id, organisation_id, 2, action, actor_kind, actor_id, actor_name,"
            " address, target_id, details FROM audit_log"
        )
    with closing(sqlite3.connect(tmp_path / "headrace.db")) as raw:
        raw.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            raw.execute(statement)
    with store.reading() as tx:
        assert audit.newest(tx, "org_default", after=None, limit=9) == (ROW,)
    store.close()
