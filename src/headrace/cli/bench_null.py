"""`headrace bench null-server`: an endpoint with exact delays, to judge benchmarks by."""

import asyncio
from typing import Annotated

import typer

from headrace.bench.null_server import NullScript, NullServer
from headrace.cli.output import say


def null_server(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 0,
    first_ms: Annotated[float, typer.Option(min=0, help="to the first token")] = 50.0,
    gap_ms: Annotated[float, typer.Option(min=0, help="between events")] = 10.0,
    tokens: Annotated[int, typer.Option(min=1, help="of an answer, at most")] = 64,
    tokens_an_event: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Serve scripted answers on loopback until Ctrl-C: what a benchmark must find is known."""
    script = NullScript(
        first_s=first_ms / 1e3,
        gap_s=gap_ms / 1e3,
        tokens=tokens,
        tokens_an_event=tokens_an_event,
    )

    async def serve() -> None:
        server = NullServer(script)
        say(f"ready {await server.start(port)}")
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        say("stopped", style="dim")
