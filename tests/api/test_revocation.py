"""Answers that do not outlive their key, where the settings say so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from headrace.accounts import AccountService, Tier
from headrace.api import build_app, pipeline
from headrace.api.revocation import while_active
from headrace.clock import ManualClock
from headrace.config import AccountsConfig, Config
from headrace.errors import Unauthenticated
from headrace.types import TokenEvent
from tests.api.exchange import Exchange, ask
from tests.scripted import Hold, ScriptedProvider


def event(text: str) -> TokenEvent:
    return TokenEvent(choice=0, text=text)


async def turns() -> None:
    """Long enough for anything that is to happen at once."""
    for _ in range(1_000):
        await asyncio.sleep(0)


class Source:
    """Three events, then nothing for a long time if `waits`."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.is_closed = False

    async def events(self) -> AsyncGenerator[TokenEvent, None]:
        try:
            for text in "abc":
                yield event(text)
            if self.waits:
                await turns()
        finally:
            self.is_closed = True


def test_events_of_an_active_key_pass_unchanged():
    async def read() -> list[str]:
        source = Source(waits=False)
        async with aclosing(source.events()) as events:
            return [e.text async for e in while_active(lambda: True, events, recheck_s=0)]

    assert asyncio.run(read()) == ["a", "b", "c"]


@pytest.mark.guards("D32")
def test_a_stream_ends_when_its_key_does_though_nothing_comes():
    async def read() -> list[str]:
        source = Source(waits=True)
        seen: list[str] = []
        async with aclosing(source.events()) as events:
            watched = while_active(lambda: len(seen) < 3, events, recheck_s=0)
            with pytest.raises(Unauthenticated):
                async for each in watched:
                    seen.append(each.text)  # noqa: PERF401 (one by one: the check reads it)
        assert source.is_closed
        return seen

    assert asyncio.run(read()) == ["a", "b", "c"]


@pytest.mark.parametrize("after", range(4))
def test_who_stops_reading_leaves_nothing_open(after: int):
    async def read() -> bool:
        source = Source(waits=True)
        async with (
            aclosing(source.events()) as events,
            aclosing(while_active(lambda: True, events, recheck_s=60)) as watched,
        ):
            for _ in range(min(after, 3)):
                await anext(watched)
        return source.is_closed or after == 0

    assert asyncio.run(read())


@pytest.mark.guards("D32")
@pytest.mark.parametrize("ends", [True, False])
def test_a_running_stream_ends_if_so_configured(
    ends: bool, accounts: AccountService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "RECHECK_S", 0.0)
    secret = accounts.create(name="k", tier=Tier.FREE).secret
    hold = Hold()
    config = Config(home=Path(), accounts=AccountsConfig(end_revoked_streams=ends))
    app = build_app(ScriptedProvider("one", hold, "two"), accounts, config, ManualClock())
    headers = {"authorization": f"Bearer {secret}"}

    async def run() -> Exchange:
        got = Exchange(app, "POST", "/v1/chat/completions", ask(stream=True), headers)
        running = asyncio.create_task(got.run())
        await got.wait_for(b"one")
        await hold.reached.wait()
        accounts.revoke("k")
        await turns()
        assert running.done() is ends
        if not ends:
            hold.release()
        await running
        return got

    got = asyncio.run(run())
    assert (b"wrong_api_key" in got.body) is ends
    assert (b"two" in got.body) is not ends
