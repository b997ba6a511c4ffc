"""How long does it take to account for a million requests?

    python benchmarks/bench_books.py [--records 1000000]

Fills a database with random usage records and ledger entries, then times what is asked of it: the
CSV of all of them by `headrace usage`, the same over HTTP from a running server, a statement of a
month, and a page of days.
"""

import argparse
import csv
import json
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from loopback_client import serving
from machine import commit, describe

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.clock import SystemClock
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger

FIRST = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
SPAN_S = 30 * 86_400


def main() -> None:
    """Fill, ask, print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    given = parser.parse_args()
    found: dict[str, float] = {}
    with TemporaryDirectory() as folder, serving("--log-level", "warning") as server:
        made = server.run("keys", "create", "--role", "viewer", "--name", "books", "--json")
        key = json.loads(made)["key"]
        fill(server.home, given.records)
        stretch = f"start_time={FIRST}&end_time={FIRST + SPAN_S}"

        def get(path: str) -> bytes:
            url = f"http://127.0.0.1:{server.port}/v1/organization{path}"
            asked = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
            with urllib.request.urlopen(asked, timeout=300) as answer:
                return answer.read()

        begin = time.perf_counter()
        text = server.run(
            "usage", "--since", "2026-11-01", "--until", "2026-11-30", "--format", "csv"
        )
        found["command_csv_s"] = time.perf_counter() - begin
        (Path(folder) / "usage.csv").write_text(text)
        assert len(list(csv.reader(text.splitlines()))) == given.records + 1
        begin = time.perf_counter()
        rows = get(f"/usage/records?{stretch}").count(b"\n")
        found["http_csv_s"] = time.perf_counter() - begin
        assert rows == given.records + 1
        begin = time.perf_counter()
        statement = json.loads(get("/statements/2026-11"))
        found["statement_s"] = time.perf_counter() - begin
        assert statement["usage_micros"] == 3 * given.records
        begin = time.perf_counter()
        get(f"/usage/completions?{stretch}&limit=30&group_by=model&group_by=api_key_id")
        found["days_s"] = time.perf_counter() - begin
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "records": given.records,
        **{name: round(value, 2) for name, value in found.items()},
    }
    print(json.dumps(report, indent=1))


def fill(home: Path, count: int) -> None:
    """Requests spread evenly over a month, twenty keys, four models."""
    store = SqliteStore(home / "headrace.db", SystemClock())
    for start in range(0, count, 10_000):
        with store.changing() as tx:
            for number in range(start, min(start + 10_000, count)):
                ended = FIRST + SPAN_S * number / count
                record = UsageRecord(
                    request_id=f"chatcmpl-{number:032x}",
                    organisation_id=DEFAULT_ORGANISATION,
                    project_id="proj_default",
                    key_id=f"key_{number % 20}",
                    tier="developer",
                    model=f"model-{number % 4}",
                    received_unix=ended - 1,
                    ended_unix=ended,
                    prompt_tokens=number % 1_000,
                    cached_tokens=0,
                    completion_tokens=number % 300,
                    reasoning_tokens=0,
                    status="completed",
                    price_version="m@start",
                    micros=3,
                )
                ledger.add_usage(tx, record)
                entry = LedgerRecord(
                    id=f"led_{record.request_id}",
                    organisation_id=DEFAULT_ORGANISATION,
                    at_unix=int(ended),
                    kind="usage",
                    micros=-3,
                    reference=record.request_id,
                )
                ledger.append(tx, entry)
        sys.stderr.write(f"\r{start + 10_000:,} records")
    sys.stderr.write("\n")
    store.close()


if __name__ == "__main__":
    main()
