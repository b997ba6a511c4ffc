"""`headrace bench null-server`: an endpoint with exact delays, to judge benchmarks by."""

import asyncio
from typing import Annotated

import typer
import uvloop

from headrace.bench.null_script import NullScript
from headrace.bench.null_server import NullServer
from headrace.cli.output import say


def null_server(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 0,
    first_ms: Annotated[float, typer.Option(min=0, help="to the first token")] = 50.0,
    gap_ms: Annotated[float, typer.Option(min=0, help="between events")] = 10.0,
    tokens: Annotated[int, typer.Option(min=1, help="of an answer, at most")] = 64,
    tokens_an_event: Annotated[int, typer.Option(min=1)] = 1,
    held: Annotated[int, typer.Option(min=1, help="events that a proxy lets go together")] = 1,
    reasoning_tokens: Annotated[int, typer.Option(min=0, help="of `tokens`, the first")] = 0,
    cut_after: Annotated[int | None, typer.Option(min=0, help="events, then it hangs up")] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="of each answer")] = 200,
    usage: Annotated[bool, typer.Option(help="tell how many tokens there were")] = True,
) -> None:
    """Serve scripted answers on loopback until Ctrl-C: what a benchmark must find is known."""
    script = NullScript(
        first_s=first_ms / 1e3,
        gap_s=gap_ms / 1e3,
        tokens=tokens,
        tokens_an_event=tokens_an_event,
        held=held,
        reasoning_tokens=reasoning_tokens,
        cut_after=cut_after,
        status=status,
        has_usage=usage,
    )

    async def serve() -> None:
        server = NullServer(script)
        say(f"ready {await server.start(port)}")
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        say("stopped", style="dim")
