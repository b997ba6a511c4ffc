"""Clients that stream without end: what they remember, and that none ends unnoticed."""

import asyncio
import random

import pytest

from headrace.accounts import AccountService, Tier
from headrace.errors import BackendError
from headrace.prove.crowd import Crowd
from tests.conftest import Serve
from tests.scripted import CARD, ScriptedProvider


def crowd(url: str, key: str) -> Crowd:
    return Crowd(url, key, random.Random(1), clients=2, model=CARD.id)


def test_they_remember_what_they_were_told(serve: Serve, accounts: AccountService) -> None:
    key = accounts.create(name="k", tier=Tier.ENTERPRISE).secret
    url = serve(ScriptedProvider("a", "b", "c"), accounts)

    async def scenario() -> Crowd:
        clients = crowd(url, key)
        async with clients.asking():
            await clients.events(20)
        return clients

    whole = [told for told in asyncio.run(scenario()).told if told.is_whole and told.usage]
    assert len(whole) >= 2
    assert len({told.id for told in whole}) == len(whole)
    assert all(told.usage["completion_tokens"] == 3 for told in whole)


def test_a_client_that_is_refused_ends_the_wait(serve: Serve, accounts: AccountService) -> None:
    url = serve(ScriptedProvider("a"), accounts)

    async def scenario() -> None:
        clients = crowd(url, "hr-wrong")
        async with clients.asking():
            await clients.events(20)

    with pytest.raises(BackendError, match="an answer of status 401"):
        asyncio.run(scenario())
