"""What several folders of tests share: a provider that follows a script, and a server of it."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from starlette.routing import BaseRoute

from headrace.accounts import AccountService, Anyone
from headrace.api import HttpServer, address, bind, build_app
from headrace.api.wafer_replay import replay_route
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.console import pages
from tests.scripted import CARD, ScriptedProvider
from tests.tiny_llama import tiny_program

Serve = Callable[..., str]

# Properties are about values: how long a shared machine takes over an example is not one.
settings.register_profile("quick", deadline=None, max_examples=60)
settings.register_profile("full", deadline=None, max_examples=1_000)
settings.register_profile("sanitized", deadline=None, max_examples=10)  # each 20 times as slow
settings.load_profile("quick")  # `--hypothesis-profile full` in make test-full


async def _nothing() -> None:
    """Scripted streams end by themselves."""


@contextmanager
def _running(
    provider: ScriptedProvider,
    accounts: AccountService | None,
    config: Config,
    more: Sequence[BaseRoute] = (),
    **options: Any,
) -> Iterator[str]:
    replay = replay_route({CARD.id: tiny_program()}, accounts or Anyone())
    served = (*pages(), replay, *more)
    app = build_app(provider, accounts, config, SystemClock(), pages=served, **options)
    is_ready = threading.Event()
    server = HttpServer(app, drain_s=5, on_ready=is_ready.set, on_limit=_nothing)
    sock = bind("127.0.0.1", 0)
    url = address(sock)
    thread = threading.Thread(target=lambda: asyncio.run(server.run(sock)))
    thread.start()
    try:
        is_ready.wait()
        yield url
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(provider, accounts=None, **options)` gives the URL of a real server on loopback."""
    with ExitStack() as running:

        def start(
            provider: ScriptedProvider,
            accounts: AccountService | None = None,
            config: Config | None = None,
            **options: Any,
        ) -> str:
            made: AbstractContextManager[str] = _running(
                provider, accounts, config or Config(home=tmp_path), **options
            )
            return running.enter_context(made)

        yield start


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[AccountService]:
    """The keys of an empty home folder."""
    with AccountService.open(Config(home=tmp_path / "home")) as service:
        yield service
