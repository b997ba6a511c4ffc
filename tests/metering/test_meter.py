"""Who pays what: reserved, settled, recovered, and never more than there is."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.errors import ConfigError, InsufficientCredit, QueueFull
from headrace.metering import Metered, Payer, Slots
from headrace.store import UsageRecord
from headrace.types import Usage
from tests.metering.world import DEVELOPER, ENTERPRISE, FREE, World

COST = 10 * 100_000 // 1_000_000  # of 10 tokens of prompt: a micro-dollar


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await scene()

    return asyncio.run(whole())


async def one(
    world: World, name: str, account: Payer = DEVELOPER, *, most: int = 100, prompt: int = 10
) -> Metered:
    return await world.meter.reserve(account, "m", name, prompt_tokens=prompt, most_outputs=[most])


def usage(prompt: int, completion: int, cached: int = 0) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


def test_a_request_is_paid_and_written_down_once(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(5_000_000)
            metered = await one(world, "r")
            metered.start(10)
            for _ in range(30):
                metered.count(1)
            metered.settle(usage(10, 30, cached=4))
            metered.settle(usage(10, 99))
            metered.release()
            await world.meter.flush()
            (record,) = world.records()
            # 6 x 0.1 + 4 x 0.05 + 30 x 0.6 micro-dollars are 18.8.
            assert record.micros == 19
            assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (
                10,
                4,
                30,
            )
            assert (record.status, record.price_version, record.tier) == (
                "completed",
                "m@start",
                "developer",
            )
            assert world.balance == 5_000_000 - 19
            assert world.disagreements == []
        with World(tmp_path) as after:
            assert after.free == after.balance == 5_000_000 - 19, "the lease came back"

    run(scene)


def test_what_broke_off_costs_what_was_delivered_and_what_never_ran_nothing(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(1_000_000)
            broken, refused = await one(world, "broken"), await one(world, "refused")
            broken.start(10)
            broken.count(5)
            broken.release()
            refused.release()
            await world.meter.flush()
            (record,) = world.records()
            assert (record.request_id, record.status, record.completion_tokens) == (
                "broken",
                "interrupted",
                5,
            )
            assert world.balance == 1_000_000 - record.micros == 1_000_000 - 4

    run(scene)


def test_credit_cuts_the_answer_and_at_zero_there_is_none(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(61)
            metered = await one(world, "a", most=10_000)
            assert metered.most == 100, "60 micro-dollars, at 0.6 each"
            with pytest.raises(InsufficientCredit, match=r"credit has 0\.000000 dollars left"):
                await one(world, "b", most=1)
            metered.start(10)
            metered.count(20)
            metered.settle(usage(10, 20))
            assert (await one(world, "c", most=10_000)).most == 78, "48 - 1 are left"

    run(scene)


def test_two_hundred_at_once_with_money_for_ten(tmp_path: Path) -> None:
    """R5: each needs 61 micro-dollars; ten are paid for, however they come."""

    async def scene() -> None:
        with World(tmp_path, slots=300) as world:
            world.pay(610)

            async def try_one(i: int) -> Metered | None:
                try:
                    metered = await one(world, f"r{i}", most=100)
                except InsufficientCredit:
                    return None
                if metered.most < 100:  # cut: not one of the ten
                    metered.release()
                    return None
                return metered

            got = [m for m in await asyncio.gather(*(try_one(i) for i in range(200))) if m]
            assert len(got) == 10
            for metered in got:
                metered.start(10)
                metered.count(100)
                metered.settle(usage(10, 100))
            await world.meter.flush()
            assert world.balance == 0
            assert len(world.records()) == 10
            with pytest.raises(InsufficientCredit):
                await one(world, "late", most=1)

    run(scene)


def test_a_top_up_is_there_for_the_next_request(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            with pytest.raises(InsufficientCredit):
                await one(world, "a")
            world.pay(1_000)
            await one(world, "b")

    run(scene)


def test_free_costs_nothing_and_an_invoice_may_go_below_zero(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            for account in (FREE, ENTERPRISE):
                metered = await one(world, account.tier, account)
                assert metered.most == 100
                metered.start(10)
                metered.settle(usage(10, 100))
            await world.meter.flush()
            free, invoiced = world.records()
            assert (free.micros, free.price_version) == (0, "free")
            assert invoiced.micros == 61
            assert world.balance == -61
            assert world.disagreements == []

    run(scene)


def test_a_keys_budget_stops_it_until_the_month_is_over(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ManualClock(unix_s=1_798_700_000)  # the last day of December 2026
        account = replace(DEVELOPER, budget_micros=100)
        with World(tmp_path, clock) as world:
            world.pay(10_000)
            first = await one(world, "a", account, most=100)
            assert (await one(world, "b", account, most=100)).most == 63, "39 are left, less 1"
            first.start(10)
            first.settle(usage(10, 100))
        with World(tmp_path, clock) as world:
            assert (await one(world, "c", account, most=100)).most == 63, "known after a restart"
            with pytest.raises(InsufficientCredit, match="key's budget"):
                await one(world, "d", account, most=100)
            clock.advance(2 * 86_400)
            assert (await one(world, "e", account, most=100)).most == 100

    run(scene)


def test_a_month_that_turns_gives_nothing_away(tmp_path: Path) -> None:
    """What was reserved in the old month does not come back in the new one; what ends in it is
    drawn from it, as after a restart."""

    async def scene() -> None:
        clock = ManualClock(unix_s=1_798_700_000)  # the last day of December 2026
        account = replace(DEVELOPER, budget_micros=100)
        with World(tmp_path, clock) as world:
            world.pay(10_000)
            old = await one(world, "old", account, most=100)
            clock.advance(2 * 86_400)
            new = await one(world, "new", account, most=100)
            assert new.most == 100
            new.release()
            old.start(10)
            old.settle(usage(10, 50))  # 31 micro-dollars
            assert (await one(world, "next", account, most=1_000)).most == 113, "68 of 69 are left"
        with World(tmp_path, clock) as world:
            assert (await one(world, "again", account, most=1_000)).most == 113

    run(scene)


def test_a_budget_is_opened_after_what_is_not_written_yet(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(10_000)
            before, during = await one(world, "before"), await one(world, "during")
            for metered in (before, during):
                metered.start(10)
            before.settle(usage(10, 50))  # 31 micro-dollars, in no file yet
            account = replace(DEVELOPER, budget_micros=100)
            first = await one(world, "first", account, most=1)
            first.release()
            during.settle(usage(10, 20))  # 13 more, reserved when there was no budget
            assert (await one(world, "next", account, most=1_000)).most == 91, "55 of 56 are left"

    run(scene)


def test_a_request_is_written_once_however_often_it_comes(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(10_000)
            for names in (["a", "b", "a"], ["b", "c"], ["c"]):
                for metered in [await one(world, name) for name in names]:
                    metered.start(10)
                    metered.settle(usage(10, 50))
                await world.meter.flush()
            assert sorted(r.request_id for r in world.records()) == ["a", "b", "c"]
            assert world.balance == 10_000 - 3 * 31
            assert world.disagreements == []

    run(scene)


def test_several_answers_share_what_is_paid_for(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path) as world:
            world.pay(61)
            metered = await world.meter.reserve(
                DEVELOPER, "m", "r", prompt_tokens=10, most_outputs=[500, 400, 100, 1]
            )
            assert metered.most == 25

    run(scene)


def test_a_crash_leaves_slots_from_which_every_record_is_made(tmp_path: Path) -> None:
    """The process is gone between any two writes: what its slots say is written, once."""
    world = World(tmp_path)
    world.pay(1_000_000)

    async def before() -> None:
        running = await one(world, "running")
        running.start(10)
        running.count(7)
        await one(world, "waiting")
        ended = await one(world, "ended")
        ended.start(10)
        world.meter._writer.put = lambda settled: None
        ended.settle(usage(10, 9, cached=2))

    run(before)
    world.meter.slots.close()  # the lock goes with the process
    world.store.close()
    for _ in range(2):
        with World(tmp_path) as after:
            found = {r.request_id: r for r in after.records()}
            assert set(found) == {"running", "ended"}
            assert (found["running"].status, found["running"].completion_tokens) == (
                "interrupted",
                7,
            )
            assert (found["ended"].status, found["ended"].cached_tokens) == ("completed", 2)
            assert after.disagreements == []
            assert after.free == after.balance == 1_000_000 - sum(r.micros for r in found.values())


class Failing(sqlite3.Connection):
    """Fails the n-th statement that writes."""

    left = 1 << 62

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql.split()[0] in ("INSERT", "UPDATE", "COMMIT", "BEGIN"):
            Failing.left -= 1
            if Failing.left == 0:
                raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *args)


def test_any_one_failing_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2: the n-th write fails, for every n of a scripted run."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Failing, **k))

    async def script(home: Path) -> tuple[int, int]:
        """How many were admitted, and how many records and failures of writes there were."""
        admitted = 0
        with World(home) as world:
            world.pay(10_000)
            Failing.left = failing
            for i in range(4):
                try:
                    metered = await one(world, f"r{i}")
                except Exception:  # noqa: BLE001 (refused as the store does not answer)
                    continue
                admitted += 1
                metered.start(10)
                metered.count(3)
                if i % 2:
                    metered.settle(usage(10, 3))
                else:
                    metered.release()
            await world.meter.flush()
            had_failed = Failing.left <= 0
            Failing.left = 1 << 62
            assert len(world.records()) == admitted
            assert world.disagreements == []
            assert world.balance == 10_000 - sum(r.micros for r in world.records())
        return admitted, had_failed

    monkeypatch.setattr("headrace.metering.settlement._RETRY_S", 0.001)
    failing = 1
    while True:
        admitted, had_failed = asyncio.run(script(tmp_path / str(failing)))
        if not had_failed:
            break
        failing += 1
    assert failing > 8
    assert admitted == 4


def test_two_servers_on_one_database_share_the_credit_and_not_the_slots(tmp_path: Path) -> None:
    async def scene() -> None:
        with (
            World(tmp_path, lease_micros=100) as first,
            World(tmp_path, lease_micros=100) as second,
        ):
            assert first.meter.slots.path != second.meter.slots.path
            first.pay(150)
            assert (await one(first, "a", most=1_000)).most == 248  # all 150 are leased for it
            with pytest.raises(InsufficientCredit):
                await one(second, "b", most=1)

    run(scene)


@pytest.mark.parametrize("seed", range(20))
def test_a_random_history_adds_up(tmp_path: Path, seed: int) -> None:
    """Against a plain sum: any requests, restarts and crashes in between."""
    rng = random.Random(seed)
    paid = expected = 0
    serial = 0

    async def life(world: World, crash: bool) -> None:
        nonlocal paid, expected, serial
        running: list[tuple[Metered, int, int]] = []
        for _ in range(rng.randint(1, 15)):
            if rng.random() < 0.3:
                micros = rng.randint(1, 5_000)
                world.pay(micros)
                paid += micros
            serial += 1
            prompt = rng.randint(1, 2_000)
            try:
                metered = await one(world, f"r{serial}", most=rng.randint(1, 900), prompt=prompt)
            except InsufficientCredit:
                continue
            metered.start(prompt)
            tokens = rng.randint(0, metered.most)
            metered.count(tokens)
            running.append((metered, prompt, tokens))
            while running and rng.random() < 0.5:
                metered, prompt, tokens = running.pop(rng.randrange(len(running)))
                metered.settle(usage(prompt, tokens)) if rng.random() < 0.7 else metered.release()
                expected += (2 * (prompt * 100_000 + tokens * 600_000) + 10**6) // (2 * 10**6)
        for _, prompt, tokens in running:
            expected += (2 * (prompt * 100_000 + tokens * 600_000) + 10**6) // (2 * 10**6)
        if crash:
            await world.meter.flush()
            world.meter.slots.close()
            world.store.close()
        else:
            for metered, _, _ in running:
                metered.release()
            world.__exit__(None, None, None)

    for _ in range(4):
        asyncio.run(life(World(tmp_path), rng.random() < 0.5))
    with World(tmp_path) as world:
        assert world.balance == world.free == paid - expected >= 0
        assert world.disagreements == []


def test_as_many_run_as_there_are_slots(tmp_path: Path) -> None:
    async def scene() -> None:
        with World(tmp_path, slots=2) as world:
            world.pay(100_000)
            first = await one(world, "a")
            await one(world, "b")
            with pytest.raises(QueueFull):
                await one(world, "c")
            first.release()
            await one(world, "d")

    run(scene)


def test_a_slot_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slots").write_bytes(b"something else, of somebody else" * 100)
    with pytest.raises(ConfigError, match="no file of ours"):
        Slots(tmp_path / "slots", 4)


def test_the_columns_are_the_fields(tmp_path: Path) -> None:
    with World(tmp_path) as world, world.store.reading() as tx:
        columns = [row[1] for row in tx.execute("PRAGMA table_info(usage_records)")]
    assert columns == ["number", *UsageRecord.__struct_fields__]


@pytest.mark.parametrize("statement", ["UPDATE ledger SET micros = 0", "DELETE FROM ledger"])
def test_the_ledger_is_never_changed(tmp_path: Path, statement: str) -> None:
    with World(tmp_path) as world:
        world.pay(5)
        connection = sqlite3.connect(tmp_path / "headrace.db")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
        connection.close()
