"""One engine with two doors: a server with keys, limits and a meter, and one that asks for none.

    python benchmarks/two_doors.py --config headrace.toml

Both answer from one process and one engine, so that nothing tells them apart but what stands at the
door: two processes of the same program differ by 10 to 20 % in how fast they decode a small model,
as each lies elsewhere in memory. Prints one JSON object, the port of each door, when both are open,
and ends when its standard input does.
"""

import argparse
import asyncio
import json
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import uvloop

from headrace import config as settings
from headrace.accounts import AccountService
from headrace.api import App, HttpServer, bind, build_app
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.gateway.build import build_local
from headrace.gateway.local import LocalProvider
from headrace.metering import Meter
from headrace.model import bundled_model
from headrace.store import SqliteStore
from headrace.telemetry.logs import set_up_logging


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args()
    guarded = settings.load(file=given.config, flags={})
    free = settings.load(file=given.config, flags={"api.auth": False})
    set_up_logging(settings.LogLevel.WARNING, settings.LogFormat.TEXT, sys.stderr)
    clock = SystemClock()
    provider = build_local([bundled_model()], guarded, clock)
    with (
        AccountService.open(guarded, clock) as accounts,
        closing(Meter.of(guarded, clock)) as meter,
    ):
        open_store = partial(SqliteStore, guarded.home / "headrace.db", clock)
        doors = {
            "on": build_app(provider, accounts, guarded, clock, meter=meter, open_store=open_store),
            "off": build_app(provider, None, free, clock),
        }
        uvloop.run(serve(provider, doors, guarded))


async def serve(provider: LocalProvider, doors: dict[str, App], config: Config) -> None:
    """Open all doors, say where they are, and close them when standard input ends."""
    await provider.start()
    opened = asyncio.Semaphore(0)
    sockets = {name: bind("127.0.0.1", 0) for name in doors}
    servers = [
        (
            HttpServer(
                app,
                drain_s=config.api.drain_s,
                on_ready=opened.release,
                on_limit=provider.stop,
            ),
            sockets[name],
        )
        for name, app in doors.items()
    ]
    running = [asyncio.create_task(server.run(sock)) for server, sock in servers]
    keepers = [asyncio.create_task(app.service.keep()) for app in doors.values()]
    try:
        for _ in doors:
            await opened.acquire()
        print(
            json.dumps({name: sock.getsockname()[1] for name, sock in sockets.items()}), flush=True
        )
        await asyncio.to_thread(sys.stdin.read)
        for server, _ in servers:
            server.stop()
        await asyncio.gather(*running)
    finally:
        for keeper in keepers:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        await provider.stop()


if __name__ == "__main__":
    main()
