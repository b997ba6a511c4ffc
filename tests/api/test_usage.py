"""Use and money by the organisation API: the same numbers as the books, to the last one."""

import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import OPERATOR, AccountService, KeyDraft, Role, Tier
from headrace.accounts.organisations import operator_in
from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import TIERS, Config, PriceConfig, TierConfig
from headrace.store import LedgerRecord, OrganisationRecord, UsageRecord, ledger, organisations
from tests.api.exchange import Exchange, ask, call
from tests.api.managed import World
from tests.scripted import CARD, ScriptedProvider

DAY = 86_400
NOVEMBER = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
ROOT = "/v1/organization"
FIELDS = {"project_id": "project_id", "api_key_id": "key_id", "model": "model"}


class Ledger:
    """A server whose books have a random November in them."""

    def __init__(self, accounts: AccountService) -> None:
        self.world = World(accounts)
        self.accounts = accounts
        self.rng = random.Random(20_261_126)
        self.records = [self._record(number) for number in range(400)]
        with accounts.store.changing() as tx:
            self._pay(tx, "led_before", NOVEMBER - DAY, "top_up", 7_000_000)
            self._pay(tx, "led_during", NOVEMBER + DAY, "top_up", 5_000_000)
            self._pay(tx, "led_wrong", NOVEMBER + 2 * DAY, "correction", -1_000_000)
            self._pay(tx, "led_after", NOVEMBER + 30 * DAY, "grant", 3_000_000)
            for record in self.records:
                ledger.add_usage(tx, record)
                if record.micros:
                    self._pay(
                        tx,
                        f"led_{record.request_id}",
                        int(record.ended_unix),
                        "usage",
                        -record.micros,
                        reference=record.request_id,
                    )
            stranger = self._record(999, organisation_id="another")
            ledger.add_usage(tx, stranger)

    def get(self, path: str, as_: dict[str, str] | None = None) -> Any:
        opening = self.world.session() if as_ is None else as_
        got = self.world.send(ROOT + path, "get", as_=opening)
        assert got.status == 200, got.json
        return got.json

    def pages(self, path: str) -> Iterator[Any]:
        """All buckets of all pages."""
        page = self.get(path)
        while True:
            yield from page["data"]
            if not page["has_more"]:
                return
            page = self.get(f"{path}&page={page['next_page']}")

    def of_november(self) -> list[UsageRecord]:
        end = NOVEMBER + 30 * DAY
        return [each for each in self.records if NOVEMBER <= each.ended_unix < end]

    def _record(self, number: int, organisation_id: str = DEFAULT_ORGANISATION) -> UsageRecord:
        rng = self.rng
        ended = NOVEMBER - DAY + rng.random() * 33 * DAY
        prompt = rng.randint(1, 3_000)
        return UsageRecord(
            request_id=f"chatcmpl-{number}",
            organisation_id=organisation_id,
            project_id=rng.choice(["proj_a", "proj_b"]),
            key_id=rng.choice(["key_1", "key_2", "key_3"]),
            tier="developer",
            model=rng.choice(["m", "n"]),
            received_unix=ended - 1,
            ended_unix=ended,
            prompt_tokens=prompt,
            cached_tokens=rng.randint(0, prompt),
            completion_tokens=rng.randint(0, 500),
            reasoning_tokens=0,
            status=rng.choice(["completed", "interrupted"]),
            price_version="m@start",
            micros=rng.choice([0, rng.randint(1, 5_000)]),
        )

    def _pay(
        self, tx: Any, name: str, at: int, kind: str, micros: int, reference: str = ""
    ) -> None:
        entry = LedgerRecord(
            id=name,
            organisation_id=DEFAULT_ORGANISATION,
            at_unix=at,
            kind=kind,
            micros=micros,
            reference=reference or name,
        )
        assert ledger.append(tx, entry)


@pytest.fixture
def books(accounts: AccountService) -> Ledger:
    return Ledger(accounts)


def summed(results: list[Any]) -> dict[str, int]:
    names = ("input_tokens", "output_tokens", "input_cached_tokens", "num_model_requests")
    return {name: sum(result[name] for result in results) for name in names}


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
def test_buckets_hold_each_record_once(books: Ledger, width: str) -> None:
    start, end = NOVEMBER + 1_000, NOVEMBER + (2 if width == "1m" else 20) * DAY
    query = f"/usage/completions?start_time={start}&end_time={end}&bucket_width={width}"
    step = {"1m": 60, "1h": 3_600, "1d": DAY}[width]
    begin = start - start % step
    buckets = list(books.pages(query + f"&limit={ {'1m': 1_440, '1h': 100, '1d': 6}[width] }"))
    starts = [bucket["start_time"] for bucket in buckets]
    assert starts == list(range(begin, end, step))
    for bucket in buckets:
        until = min(bucket["start_time"] + step, end)
        assert bucket["end_time"] == until
        inside = [r for r in books.records if bucket["start_time"] <= r.ended_unix < until]
        assert len(bucket["results"]) == bool(inside)
        assert summed(bucket["results"]) == {
            "input_tokens": sum(r.prompt_tokens for r in inside),
            "output_tokens": sum(r.completion_tokens for r in inside),
            "input_cached_tokens": sum(r.cached_tokens for r in inside),
            "num_model_requests": len(inside),
        }


@pytest.mark.parametrize("by", [("model",), ("project_id", "api_key_id"), tuple(FIELDS)])
def test_lines_are_grouped_as_asked_for(books: Ledger, by: tuple[str, ...]) -> None:
    grouped = "".join(f"&group_by={name}" for name in by)
    query = f"/usage/completions?start_time={NOVEMBER}&end_time={NOVEMBER + 7 * DAY}{grouped}"
    assert list(books.pages(query)) == list(books.pages(query.replace("group_by=", "group_by[]=")))
    for bucket in books.pages(query):
        inside = [
            r for r in books.records if bucket["start_time"] <= r.ended_unix < bucket["end_time"]
        ]
        wanted: dict[tuple[str, ...], int] = {}
        for record in inside:
            key = tuple(getattr(record, FIELDS[name]) for name in by)
            wanted[key] = wanted.get(key, 0) + record.prompt_tokens
        results = bucket["results"]
        assert {tuple(r[name] for name in by): r["input_tokens"] for r in results} == wanted
        for name in set(FIELDS) - set(by):
            assert {result[name] for result in results} <= {None}


def test_filters_leave_the_rest_out(books: Ledger) -> None:
    query = f"/usage/completions?start_time={NOVEMBER}&end_time={NOVEMBER + 7 * DAY}"
    only = "&project_ids=proj_a&api_key_ids=key_1,key_2&models=n"
    wanted = [
        r
        for r in books.records
        if NOVEMBER <= r.ended_unix < NOVEMBER + 7 * DAY
        and (r.project_id, r.model) == ("proj_a", "n")
        and r.key_id != "key_3"
    ]
    got = [result for bucket in books.pages(query + only) for result in bucket["results"]]
    assert sum(result["num_model_requests"] for result in got) == len(wanted) > 0


def test_costs_of_the_days_are_the_cost_of_the_month(books: Ledger) -> None:
    query = f"/costs?start_time={NOVEMBER}&end_time={NOVEMBER + 30 * DAY}&group_by=line_item"
    lines = [result for bucket in books.pages(query) for result in bucket["results"]]
    micros = sum(record.micros for record in books.of_november())
    assert sum(line["amount_micros"] for line in lines) == micros
    assert sum(line["amount"]["value"] for line in lines) == pytest.approx(micros / 1e6)
    assert {line["line_item"] for line in lines} == {"m", "n"}


def test_a_statement_sums_to_the_last_micro_dollar(books: Ledger) -> None:
    found = books.get("/statements/2026-11")
    records = books.of_november()
    assert found["usage_micros"] == sum(record.micros for record in records)
    assert found["usage_micros"] == sum(line["micros"] for line in found["lines"])
    assert sum(line["num_model_requests"] for line in found["lines"]) == len(records)
    assert found["paid_micros"] == 4_000_000
    before = sum(r.micros for r in books.records if r.ended_unix < NOVEMBER)
    assert found["opening_micros"] == 7_000_000 - before
    assert (
        found["closing_micros"]
        == found["opening_micros"] + found["paid_micros"] - found["usage_micros"]
    )
    after = books.get("/statements/2026-12")
    assert after["opening_micros"] == found["closing_micros"]
    assert after["closing_micros"] == books.get("/credit")["balance_micros"]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "now", "0000-01", "2026-11-01"])
def test_what_is_no_month_is_unknown(books: Ledger, month: str) -> None:
    got = books.world.send(f"{ROOT}/statements/{month}", "get", as_=books.world.session())
    assert got.status == 404


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_export_has_every_record_once(
    books: Ledger, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.metering.books._PIECE", 7)
    monkeypatch.setattr("headrace.api.usage_export._LINES", 5)
    query = f"start_time={NOVEMBER}&end_time={NOVEMBER + 30 * DAY}&format={form}"
    path = f"{ROOT}/usage/records?{query}"
    got = books.world.send(path, "get", as_=books.world.session())
    assert got.status == 200
    text = got.body.decode()
    if form == "csv":
        assert got.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(text)))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    wanted = {record.request_id: record for record in books.of_november()}
    assert [row["request_id"] for row in rows] == sorted(
        wanted, key=lambda name: wanted[name].ended_unix
    )
    assert all(int(row["micros"]) == wanted[row["request_id"]].micros for row in rows)


def test_a_member_sees_the_use_of_his_own_keys(books: Ledger) -> None:
    member = books.world.actor(Role.MEMBER)
    own = books.accounts.keys.create(member, "proj_default", KeyDraft(name="own")).key
    record = books._record(1_000)
    mine = {"key_id": own.id, "ended_unix": NOVEMBER + 100.0, "micros": 0}
    with books.accounts.store.changing() as tx:
        ledger.add_usage(tx, UsageRecord(**{**vars_of(record), **mine}))
    as_ = books.world.session(Role.MEMBER)
    query = f"?start_time={NOVEMBER}&end_time={NOVEMBER + 30 * DAY}"
    for path in ("/usage/completions", "/costs"):
        by = f"{query}&group_by=api_key_id&limit=31"
        buckets = books.get(path + by, as_)["data"]
        assert {r["api_key_id"] for b in buckets for r in b["results"]} == {own.id}
        everybody = books.get(path + by)["data"]
        assert len({r["api_key_id"] for b in everybody for r in b["results"]}) == 4
    got = books.world.send(f"{ROOT}/usage/records{query}", "get", as_=as_)
    assert [row["key_id"] for row in csv.DictReader(io.StringIO(got.body.decode()))] == [own.id]
    key = {"authorization": f"Bearer {books.world.key}"}
    assert books.world.send(f"{ROOT}/usage/records", "get", as_=key).status == 403
    assert books.world.send(f"{ROOT}/usage/records", "get", as_={}).status == 401


def vars_of(record: UsageRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


@pytest.mark.parametrize(
    "query",
    [
        "start_time=x",
        "start_time=-1",
        f"start_time={NOVEMBER}&end_time={NOVEMBER}",
        "bucket_width=1w",
        "limit=0",
        "limit=32",
        "limit=1441&bucket_width=1m",
        "group_by=user_id",
        "page=17",
        f"start_time={NOVEMBER}&page={NOVEMBER + 1}",
        "models=" + ",".join(map(str, range(101))),
    ],
)
def test_a_wrong_query_names_its_parameter(books: Ledger, query: str) -> None:
    path = f"{ROOT}/usage/completions?{query}"
    got = books.world.send(path, "get", as_=books.world.session())
    assert got.status == 400
    assert got.json["param"] in query or got.json["param"] == "end_time"


def test_payments_are_listed_newest_first_in_pages(books: Ledger) -> None:
    first = books.get("/credit/entries?limit=3")
    assert [entry["id"] for entry in first["data"]] == ["led_after", "led_wrong", "led_during"]
    assert first["has_more"]
    rest = books.get(f"/credit/entries?limit=3&after={first['last_id']}")
    assert [entry["id"] for entry in rest["data"]] == ["led_before"]
    assert not rest["has_more"]
    unknown = books.world.send(
        f"{ROOT}/credit/entries?after=led_chatcmpl-1", "get", as_=books.world.session()
    )
    assert unknown.status == 404


def test_credit_is_added_once_and_noted(books: Ledger) -> None:
    body = {"amount_micros": 2_000_000, "reference": "invoice 17", "note": "bank"}
    before = books.get("/credit")["balance_micros"]
    for _ in range(2):
        got = books.world.send(f"{ROOT}/credit/entries", body=body, as_=books.world.session())
        assert got.json["balance_micros"] == before + 2_000_000
    entries = books.get("/credit/entries")["data"]
    assert (entries[0]["reference"], entries[0]["note"]) == ("invoice 17", "bank")
    log = books.get("/audit_logs?limit=100")["data"]
    noted = [row["credit.added"] for row in log if row["type"] == "credit.added"]
    assert [row["micros"] for row in noted] == [2_000_000]


@pytest.mark.guards("D27")
def test_nobody_adds_credit_to_an_organisation_of_his_own(accounts: AccountService) -> None:
    world = World(accounts)
    with accounts.store.changing() as tx:
        record = OrganisationRecord(id="org_b", name="B", tier="developer", created_unix=0)
        organisations.add(tx, record)
    draft = KeyDraft(name="b", role=Role.OWNER)
    owner = accounts.keys.create_for_management(operator_in("org_b"), draft)
    as_ = {"authorization": f"Bearer {owner.secret}"}
    for organisation_id in ("", "org_b", DEFAULT_ORGANISATION):
        body = {"amount_micros": 5, "organization_id": organisation_id}
        got = world.send(f"{ROOT}/credit/entries", body=body, as_=as_)
        assert (got.status, got.json["param"]) == (403, "role")
    given = {"amount_micros": 5, "organization_id": "org_b"}
    assert world.send(f"{ROOT}/credit/entries", body=given).json["balance_micros"] == 5
    assert world.send(f"{ROOT}/credit", "get", as_=as_).json["balance_micros"] == 5
    unknown = {"amount_micros": 5, "organization_id": "org_c"}
    assert world.send(f"{ROOT}/credit/entries", body=unknown).status == 400


def test_prices_are_shown_with_their_days(accounts: AccountService) -> None:
    prices = (
        PriceConfig(model=CARD.id, input_micros=100_000),
        PriceConfig(model=CARD.id, input_micros=50_000, since="2027-01-01"),
    )
    config = Config(home=Path("/nonexistent"), prices=prices)
    app = build_app(ScriptedProvider(), accounts, config, ManualClock())
    draft = KeyDraft(name="m", role=Role.BILLING)
    key = accounts.keys.create_for_management(OPERATOR, draft).secret
    got = call(app, "GET", f"{ROOT}/prices", authorization=f"Bearer {key}").json["data"]
    assert [(price["model"], price["input_micros"]) for price in got] == [
        (CARD.id, 100_000),
        (CARD.id, 50_000),
    ]
    assert got[1]["valid_from"] == int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def test_a_key_shows_its_limits_and_what_they_refused(accounts: AccountService) -> None:
    tiers = {**TIERS, "free": TierConfig(requests_per_minute=2, tokens_per_day=1_000)}
    config = Config(home=Path("/nonexistent"), tiers=tiers)
    app = build_app(ScriptedProvider("a", prompt_tokens=10), accounts, config, ManualClock())
    made = accounts.create(name="k", tier=Tier.FREE)
    draft = KeyDraft(name="m", role=Role.VIEWER)
    manager = accounts.keys.create_for_management(OPERATOR, draft).secret

    def asked() -> Exchange:
        bearer = f"Bearer {made.secret}"
        return call(app, "POST", "/v1/chat/completions", ask(), authorization=bearer)

    assert [asked().status for _ in range(13)] == [200, 200] + [429] * 11
    path = f"{ROOT}/projects/proj_default/api_keys/{made.key.id}/limits"
    found = call(app, "GET", path, authorization=f"Bearer {manager}").json
    (of_model,) = found["models"]
    assert of_model["model"] == CARD.id
    standing = {limit["name"]: limit for limit in of_model["limits"]}
    assert standing["requests-minute"]["used"] == 2
    assert standing["requests-minute"]["remaining"] == 0
    assert standing["tokens-day"]["used"] == 2 * 11
    assert len(found["refusals"]) == 10
    assert found["refusals"][0]["bucket"] == "requests per minute"
    assert found["refusals"][0]["wait_s"] == 30.0
