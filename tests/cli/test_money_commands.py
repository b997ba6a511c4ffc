"""`headrace credit` and `headrace usage`: paid and used, to the last micro-dollar."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.cli.commands import app
from headrace.clock import ManualClock
from headrace.errors import InvalidRequest
from headrace.store import SqliteStore, UsageRecord, ledger


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).stdout


def shown(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_credit_is_added_to_the_last_micro_dollar() -> None:
    assert shown("credit", "add", "10")["balance_micros"] == 10_000_000
    assert shown("credit", "add", "0.000001", "--kind", "grant")["balance_micros"] == 10_000_001
    run("credit", "add", "--kind", "correction", "--", "-0.5")
    assert shown("credit", "show") == {
        "organisation_id": DEFAULT_ORGANISATION,
        "balance_micros": 9_500_001,
        "leased_micros": 0,
    }


def test_a_payment_that_is_reported_twice_counts_once() -> None:
    for _ in range(2):
        shown("credit", "add", "5", "--reference", "invoice 17")
    assert shown("credit", "show")["balance_micros"] == 5_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "more than nothing"),
        (["much"], "is no amount"),
        (["1e999999999"], "is no amount"),
        (["NaN"], "is no amount"),
        (["0.0000001"], "six decimals"),
        (["5", "--kind", "gift"], "one of top_up"),
        (["5", "--organisation", "org_x"], "no organisation has the id 'org_x'"),
        (["--", "-5"], "more than nothing"),
    ],
)
def test_what_is_no_credit_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        run("credit", "add", *arguments)
    assert shown("credit", "show")["balance_micros"] == 0


def record(number: int, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": f"chatcmpl-{number}",
        "organisation_id": DEFAULT_ORGANISATION,
        "project_id": "proj_default",
        "key_id": "key",
        "tier": "developer",
        "model": "m",
        "received_unix": 1_798_000_000.0 + number,
        "ended_unix": 1_798_000_001.0 + number,
        "prompt_tokens": 10,
        "cached_tokens": 2,
        "completion_tokens": number,
        "reasoning_tokens": 0,
        "status": "completed",
        "price_version": "m@start",
        "micros": 3 * number,
    }
    return UsageRecord(**(values | changes))


def test_a_statement_is_the_sum_of_its_lines(home: Path) -> None:
    shown("credit", "show")
    store = SqliteStore(home / "headrace.db", ManualClock())
    with store.changing() as tx:
        for number in range(40):
            ledger.add_usage(tx, record(number))
        ledger.add_usage(tx, record(99, ended_unix=1_900_000_000.0))
        ledger.add_usage(tx, record(98, organisation_id="another"))
    store.close()
    days = ["--since", "2026-12-01", "--until", "2026-12-31"]
    found = shown("usage", *days)
    assert len(found["lines"]) == 40
    assert found["micros"] == sum(line["micros"] for line in found["lines"]) == 3 * 780
    assert found["completion_tokens"] == 780
    assert len(found["disagreements"]) == 41, "these have no ledger entries, and it says so"
    rows = list(csv.DictReader(io.StringIO(run("usage", *days, "--format", "csv"))))
    assert sum(int(row["micros"]) for row in rows) == found["micros"]
    table = run("usage", *days)
    assert "$0.002340" in table
