"""GET /v1/status and what it is told from: counted by hand, kept over a restart, one month long."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Role, Tier
from headrace.api import App, build_app
from headrace.api.service_log import HOUR_S, KEPT_S, TICK_S, ServiceLog
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.engine.messages import Stats
from headrace.errors import BackendError, ConfigError, QueueFull, RequestTimeout
from headrace.store import SqliteStore
from headrace.types import Timing, Usage
from tests.api.exchange import app_of, call, chat
from tests.api.managed import World
from tests.scripted import CARD, ScriptedProvider

USAGE = Usage(prompt_tokens=7, completion_tokens=5)


def status(app: App, **headers: str) -> Any:
    got = call(app, "GET", "/v1/status", **headers)
    assert got.status == 200
    return got.json


def figures(app: App) -> Any:
    (model,) = status(app)["models"]
    assert model["last_hours"] == model["last_30_days"]
    return model["last_30_days"]


def log_of(
    clock: ManualClock,
    home: Path | None = None,
    is_ready: Callable[[], bool] = lambda: True,
    stats: Callable[[], dict[str, object]] = dict,
) -> ServiceLog:
    open_store = None if home is None else lambda: SqliteStore(home / "headrace.db", clock)
    return ServiceLog(clock, stats, is_ready, open_store)


def test_answers_are_counted_with_their_times() -> None:
    app = app_of(ScriptedProvider("a", "b", "c"))
    chat(app)
    chat(app, stream=True)
    got = figures(app)
    assert (got["answered"], got["failed"], got["success"], got["tokens"]) == (2, 0, 1, 6)
    assert got["time_to_first_token_s"]["p50"] == pytest.approx(0.003, rel=0.05)
    assert got["time_to_first_token_s"]["p99"] == pytest.approx(0.003, rel=0.05)
    assert got["tokens_per_second"]["p50"] == pytest.approx(500, rel=0.05)


@pytest.mark.parametrize(
    ("script", "failed"),
    [
        (("a", BackendError("broken")), 1),
        (("a", ZeroDivisionError("a fault of ours")), 1),
        (("a", RequestTimeout("too late")), 0),
    ],
)
def test_what_breaks_off_by_a_fault_of_ours_has_failed(script: Any, failed: int) -> None:
    app = app_of(ScriptedProvider(*script))
    chat(app, stream=True)
    got = figures(app)
    assert (got["answered"], got["failed"]) == (0, failed)
    assert got["success"] == (0 if failed else None)


def test_what_finds_no_room_is_counted_for_the_server_and_a_bad_request_is_not() -> None:
    app = app_of(ScriptedProvider(QueueFull("full")))
    chat(app)
    chat(app, temperature=9)
    assert status(app)["refused"] == 1
    assert figures(app)["failed"] == 0


def test_only_the_models_of_a_key_are_told(accounts: AccountService) -> None:
    hidden = replace(CARD, organisations=("org_other",))
    key = accounts.create(name="k", tier=Tier.FREE).secret
    for card, told in ((CARD, [CARD.id]), (hidden, [])):
        app = app_of(ScriptedProvider("x", card=card, aliases=("alias",)), accounts)
        got = status(app, authorization=f"Bearer {key}")
        assert [model["id"] for model in got["models"]] == told
        assert call(app, "GET", "/v1/status").status == 401


def test_a_session_and_a_management_key_see_the_models_of_their_organisation(
    accounts: AccountService,
) -> None:
    world = World(accounts)
    for ways in (
        world.session(Role.VIEWER),
        world.session(Role.BILLING),
        {"authorization": f"Bearer {world.management_key}"},
    ):
        got: Any = world.send("/v1/status", "get", as_=ways).json
        assert [model["id"] for model in got["models"]] == [CARD.id]


def test_what_the_engine_does_now_is_told() -> None:
    clock = ManualClock()
    stats = Stats(running=3, waiting=2, free_blocks=25, total_blocks=100, output_tokens=0)
    told: dict[str, object] = {CARD.id: stats}
    app = build_app(
        ScriptedProvider(), None, Config(home=Path("/none")), clock, read_stats=lambda: told
    )
    for tokens in (0, 100, 400):
        told[CARD.id] = Stats(
            running=3, waiting=2, free_blocks=25, total_blocks=100, output_tokens=tokens
        )
        app.service.tick()
        clock.advance(TICK_S)
    (model,) = status(app)["models"]
    assert (model["running"], model["waiting"], model["cache_used"]) == (3, 2, 0.75)
    assert model["last_minute"] == [50, 150]
    assert model["tokens_per_second"] == 100


def test_restarts_of_the_engine_are_counted_once() -> None:
    clock, told = ManualClock(), [0, 0, 1, 1, 3]
    seen = iter(told)
    log = log_of(clock, stats=lambda: {"m": Stats(restarts=next(seen))})
    for _ in told:
        log.tick()
    assert log.month("m").restarts == 3


def test_availability_is_the_watched_time_that_requests_were_taken() -> None:
    clock, ready = ManualClock(), [True]
    log = log_of(clock, is_ready=lambda: ready[0])
    log.tick()
    for is_ready in (True, True, False, False, True, True):
        ready[0] = is_ready
        clock.advance(TICK_S)
        log.tick()
    watched = log.watched
    assert watched is not None
    assert (watched.up_s, watched.elapsed_s) == (3 * TICK_S, 6 * TICK_S)
    clock.advance(60)  # the process was stopped
    log.tick()
    assert log.watched is not None
    assert log.watched.up_s == 3 * TICK_S


def test_a_restart_goes_on_where_the_last_process_ended(tmp_path: Path) -> None:
    clock = ManualClock()

    async def life(seconds: float) -> ServiceLog:
        log = log_of(clock, tmp_path)
        pauses = 0

        async def pause(_: float) -> None:
            nonlocal pauses
            pauses += 1
            if pauses * TICK_S > seconds:
                raise asyncio.CancelledError
            log.answered(
                "m",
                USAGE,
                Timing(queue_s=0, prompt_s=0.01, completion_s=0.4),
                first_s=0.01,
                total_s=0.5,
            )
            clock.advance(TICK_S)

        with pytest.raises(asyncio.CancelledError):
            await log.keep(pause)
        return log

    asyncio.run(life(80))
    clock.advance(100)  # nobody served
    log = asyncio.run(life(20))
    assert log.month("m").answered == 50
    assert log.month("m").first_token.quantile(0.99) == pytest.approx(0.01, rel=0.05)
    watched = log.watched
    assert watched is not None
    assert (watched.up_s, watched.elapsed_s) == (100, 200)


def test_two_processes_add_to_the_same_rows(tmp_path: Path) -> None:
    async def scene() -> int:
        clock = ManualClock()
        logs = [log_of(clock, tmp_path) for _ in range(2)]
        for log in logs:
            await log.read()
            log.failed("m")
            await log.write()
        third = log_of(clock, tmp_path)
        await third.read()
        return third.month("m").failed

    assert asyncio.run(scene()) == 2


def test_what_is_older_than_a_month_is_forgotten(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ManualClock()
        log = log_of(clock, tmp_path)
        await log.read()
        log.tick()
        log.failed("m")
        await log.write()
        clock.advance(KEPT_S - HOUR_S)
        log.failed("m")
        assert log.month("m").failed == 2
        clock.advance(2 * HOUR_S)
        log.tick()
        log.failed("m")
        assert (log.month("m").failed, log.last_hour("m").failed) == (2, 1)
        await log.write()
        after = log_of(clock, tmp_path)
        await after.read()
        assert after.month("m").failed == 2
        assert after.watched is not None
        assert after.watched.since_unix == int(clock.unix_s())

    asyncio.run(scene())


def test_a_database_that_does_not_answer_loses_nothing(tmp_path: Path) -> None:
    async def scene() -> int:
        clock = ManualClock()
        log = log_of(clock, tmp_path)
        await log.read()
        store = SqliteStore(tmp_path / "headrace.db", clock)
        log.failed("m")
        with store.changing() as tx:
            tx.execute("ALTER TABLE service_hours RENAME TO elsewhere")
        await log.write()
        with store.changing() as tx:
            tx.execute("ALTER TABLE elsewhere RENAME TO service_hours")
        log.failed("m")
        await log.write()
        after = log_of(clock, tmp_path)
        await after.read()
        return after.month("m").failed

    assert asyncio.run(scene()) == 2


def test_without_a_database_it_counts_all_the_same() -> None:
    def none() -> SqliteStore:
        raise ConfigError("no such folder")

    async def scene() -> int:
        log = ServiceLog(ManualClock(), dict, lambda: True, none)
        await log.read()
        log.failed("m")
        await log.write()
        return log.month("m").failed

    assert asyncio.run(scene()) == 1
