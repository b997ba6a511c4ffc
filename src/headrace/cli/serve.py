"""`headrace serve`: checkpoint folders behind the OpenAI API."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace import config as settings
from headrace.cli.output import DTYPE_HELP, loading_bars, print_json, say
from headrace.cli.start import end_of_start
from headrace.config import LOOPBACK_HOSTS, Config, LogFormat, LogLevel
from headrace.engine.launch import Launched
from headrace.errors import ConfigError
from headrace.telemetry.logs import set_up_logging
from headrace.types import Dtype

if TYPE_CHECKING:
    from headrace.accounts import AccountService
    from headrace.api import App, HttpServer
    from headrace.clock import Clock
    from headrace.gateway.local import LocalProvider
    from headrace.gateway.machines import Machines
    from headrace.metering import Meter


def serve(
    context: typer.Context,
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="checkpoint folders; default: those of --config, or the bundled model"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free port [8000]")] = None,
    config: Annotated[Path | None, typer.Option(help="a headrace.toml")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="no keys; loopback only")] = False,
    backend: Annotated[str | None, typer.Option(help="cpu, cuda, wafer, reference or null")] = None,
    mesh: Annotated[str | None, typer.Option(help="of --backend wafer: 64x64, wse2, wse3")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help=DTYPE_HELP)] = None,
    threads: Annotated[int | None, typer.Option(help="0: one per physical core")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="how much to log [info]")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="of the log's lines [text]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="say so as one JSON object")] = False,
    with_stdin: Annotated[
        bool, typer.Option("--with-stdin", hidden=True, help="stop when stdin closes")
    ] = False,
) -> None:
    """Serve models until SIGTERM or Ctrl-C. Prints `ready http://…` when it does."""
    flags = {
        "api.host": host,
        "api.port": port,
        "api.auth": False if no_auth else None,
        "engine.backend": backend,
        "engine.mesh": mesh,
        "engine.dtype": dtype,
        "engine.threads": threads,
        "log.level": log_level,
        "log.format": log_format,
    }
    load = partial(settings.load, file=config, flags=flags)
    loaded = load()
    set_up_logging(loaded.log.level, loaded.log.format, sys.stderr)
    if config is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    run_server(
        models or [],
        loaded,
        context.obj,
        load_again=None if config is None else load,
        as_json=as_json,
        with_stdin=with_stdin,
    )


def run_server(
    models: list[Path],
    config: Config,
    launched: Launched | None,
    *,
    load_again: Callable[[], Config] | None,
    as_json: bool,
    with_stdin: bool,
) -> None:
    """Bind, check, load, serve, drain, stop. Raises ConfigError for a wrong port or folder.

    `launched`: a process for the first model. What serving needs is imported while that loads.
    `load_again` reads the settings at SIGHUP; None: there is no file that could have changed.
    """
    from headrace.accounts import AccountService
    from headrace.api import address, bind
    from headrace.clock import SystemClock
    from headrace.gateway.build import build_local
    from headrace.model import bundled_model

    clock = SystemClock()
    with ExitStack() as held:
        # First: a taken port shows before a long load.
        sock = held.enter_context(closing(bind(config.api.host, config.api.port)))
        accounts: AccountService | None = None
        if config.api.auth:
            accounts = held.enter_context(AccountService.open(config, clock))
        if accounts is not None:
            check_wide_bind(config.api.host, accounts)
        if not models and not config.models:
            models = [bundled_model()]
        provider = build_local(models, config, clock, launched)

        import uvloop

        meter = _meter(config, clock, held) if accounts is not None else None

        from headrace.accounts import Anyone
        from headrace.api import HttpServer, build_app
        from headrace.api.machine_runs import machine_routes
        from headrace.api.wafer_replay import replay_route
        from headrace.cli.reload import Reload
        from headrace.console import pages
        from headrace.gateway.machines import Machines
        from headrace.store import SqliteStore

        machines = Machines(provider.public, config, clock)
        app = build_app(
            provider,
            accounts,
            config,
            clock,
            read_stats=lambda: provider.stats,
            meter=meter,
            open_store=lambda: SqliteStore(config.home / "headrace.db", clock),
            pages=(
                *pages(),
                replay_route(provider.programs, accounts or Anyone()),
                *machine_routes(machines, accounts, config),
            ),
        )

        def on_ready() -> None:
            end_of_start()
            url = address(sock)
            if as_json:
                print_json({"url": url, "models": [card.id for card in provider.models]})
            else:
                print(f"ready {url}", flush=True)

        server = HttpServer(
            app,
            drain_s=config.api.drain_s,
            on_ready=on_ready,
            on_limit=provider.stop,
            on_reload=None if load_again is None else Reload(app, config, load_again),
        )
        if accounts is not None and not any(key.is_active for key in accounts.list()):
            say("no API key yet: headrace keys create --tier free --name NAME", style="yellow")
        if with_stdin:
            threading.Thread(target=_stop_at_eof, args=(server.stop,), daemon=True).start()

        uvloop.run(_life(provider, machines, server, app, sock))


async def _life(
    provider: "LocalProvider",
    machines: "Machines",
    server: "HttpServer",
    app: "App",
    sock: socket.socket,
) -> None:
    """Load, serve until told to stop, and watch how well."""
    try:
        with loading_bars() as bars:
            await provider.start(bars)
        keeper = asyncio.create_task(app.service.keep())
        try:
            await server.run(sock)
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
    finally:
        await provider.stop()


def _meter(config: Config, clock: "Clock", held: ExitStack) -> "Meter | None":
    """The meter of a server with keys; `held` closes it."""
    from headrace.metering import Meter

    return held.enter_context(closing(Meter.of(config, clock))) if config.metering.enabled else None


def check_wide_bind(host: str, accounts: "AccountService") -> None:
    """Raises ConfigError for an address beyond this machine while nobody administers it."""
    if host not in LOOPBACK_HOSTS and not accounts.has_owner():
        raise ConfigError(
            f"host '{host}' is open to other machines, and nobody administers this server yet: "
            "headrace users create EMAIL --admin"
        )


def _stop_at_eof(stop: Callable[[], None]) -> None:
    """The parent holds our stdin: when it is gone, however it went, there is nobody to serve."""
    while os.read(
        sys.stdin.fileno(), 4096
    ):  # unbuffered: a thread in a buffer's lock aborts the exit
        pass
    stop()
