"""L8: the ledger, the statements, the sums and the lines say the same, however many there are."""

import random
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.metering import Books, Price
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger
from headrace.types import Usage

DAY = 86_400
FIRST = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())
MONTHS = [
    (FIRST, FIRST + 30 * DAY),
    (FIRST + 30 * DAY, FIRST + 61 * DAY),
    (FIRST + 61 * DAY, FIRST + 91 * DAY),
]
PRICE = Price(version="m@start", input_micros=350_000, cached_micros=175_000, output_micros=750_000)
GROUP = 10_000  # records of one commit


def fill(store: SqliteStore, count: int, seed: int) -> dict[tuple[str, int], int]:
    """Write random requests as the meter does; what they cost, by organisation and month."""
    rng = random.Random(seed)
    spent: dict[tuple[str, int], int] = defaultdict(int)
    for start in range(0, count, GROUP):
        with store.changing() as tx:
            for number in range(start, min(start + GROUP, count)):
                prompt = rng.randint(1, 4_000)
                used = Usage(
                    prompt_tokens=prompt,
                    completion_tokens=rng.randint(0, 800),
                    cached_tokens=rng.randint(0, prompt),
                )
                ended = FIRST + rng.random() * 91 * DAY
                micros = PRICE.amount(used)
                organisation = f"org_{rng.randint(0, 2)}"
                record = UsageRecord(
                    request_id=f"chatcmpl-{number}",
                    organisation_id=organisation,
                    project_id=f"proj_{rng.randint(0, 3)}",
                    key_id=f"key_{rng.randint(0, 19)}",
                    tier="developer",
                    model=f"model-{rng.randint(0, 3)}",
                    received_unix=ended - 1,
                    ended_unix=ended,
                    prompt_tokens=prompt,
                    cached_tokens=used.cached_tokens,
                    completion_tokens=used.completion_tokens,
                    reasoning_tokens=0,
                    status="completed",
                    price_version=PRICE.version,
                    micros=micros,
                )
                assert ledger.add_usage(tx, record)
                entry = LedgerRecord(
                    id=f"led_{number}",
                    organisation_id=organisation,
                    at_unix=int(ended),
                    kind="usage",
                    micros=-micros,
                    reference=record.request_id,
                )
                assert ledger.append(tx, entry)
                month = next(i for i, (_, end) in enumerate(MONTHS) if ended < end)
                spent[organisation, month] += micros
    return spent


def check(folder: Path, count: int) -> None:
    store = SqliteStore(folder / "headrace.db", ManualClock())
    spent = fill(store, count, seed=count)
    books = Books(store, ManualClock(), lambda: "led_x")
    assert not books.check()
    lines = 0
    for organisation in {name for name, _ in spent}:
        balance = 0
        for month, (start, end) in enumerate(MONTHS):
            statement = books.statement(organisation, start, end)
            assert statement.micros == spent[organisation, month]
            assert statement.opening_micros == balance
            balance -= statement.micros
            assert statement.closing_micros == balance
            by_day = books.use(organisation, start, end, DAY)
            assert sum(each.micros for each in by_day) == statement.micros
            assert sum(each.requests for each in by_day) == statement.requests
            micros = 0
            for line in books.lines(organisation, start, end):
                micros += line[-1]
                lines += 1
            assert micros == statement.micros
        assert books.balance(organisation).balance_micros == balance
    assert lines == count
    store.close()


def test_twenty_thousand_records_add_up(tmp_path: Path) -> None:
    check(tmp_path, 20_000)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_million_records_add_up(tmp_path: Path) -> None:
    check(tmp_path, 1_000_000)
