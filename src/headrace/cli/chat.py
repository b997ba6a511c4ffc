"""`headrace chat`: talk to a model in the terminal, and watch its speed."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from headrace import config as settings
from headrace.cli.live_text import LiveText
from headrace.cli.output import DTYPE_HELP, loading_bars, print_json, say
from headrace.cli.start import end_of_start
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.engine.launch import Launched
from headrace.errors import ConfigError, HeadraceError, Unauthenticated
from headrace.telemetry.logs import set_up_logging
from headrace.types import Dtype, Message, Request, Role, SamplingParams, TokenEvent

Stream = Callable[[Request], AsyncGenerator[TokenEvent, None]]


@dataclass(slots=True)
class Talk:
    """A dialogue with one model, however it is reached."""

    runner: asyncio.Runner
    stream: Stream
    model: str
    sampling: SamplingParams
    max_tokens: int | None
    messages: list[Message] = field(default_factory=list[Message])

    def ask(self, text: str, *, quiet: bool = False) -> LiveText:
        """Say `text`, show the answer, remember both."""
        self.messages.append(Message(role=Role.USER, content=text))
        with LiveText(SystemClock(), quiet=quiet) as shown:
            try:
                self.runner.run(self._follow(shown))
            finally:
                self.messages.append(Message(role=Role.ASSISTANT, content=shown.text))
        return shown

    async def _follow(self, shown: LiveText) -> None:
        request = Request(
            id=f"chat-{uuid4()}",
            model=self.model,
            messages=tuple(self.messages),
            sampling=self.sampling,
            max_tokens=self.max_tokens,
        )
        async with aclosing(self.stream(request)) as events:
            async for event in events:
                shown.add(event)


def chat(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="checkpoint folder, or with --url a model's id")
    ] = None,
    url: Annotated[str | None, typer.Option(help="a running server, http://…")] = None,
    system: Annotated[str | None, typer.Option(help="instructions for the model")] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="ask this, print the answer, end")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 is greedy [the model's own]")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    backend: Annotated[str | None, typer.Option(help="cpu, cuda, wafer, reference or null")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help=DTYPE_HELP)] = None,
    threads: Annotated[int | None, typer.Option(help="0: one per physical core")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="with --message: one object")] = False,
) -> None:
    """Talk to a model here, without a server, or to a running one with --url."""
    if as_json and message is None:
        raise ConfigError("--json needs --message: one question, one object")
    flags = {
        "engine.backend": backend,
        "engine.dtype": dtype,
        "engine.threads": threads,
        "log.level": "warning",
    }
    set_up_logging("warning", "text", sys.stderr)
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        reached = (
            _there(url, model, runner)
            if url
            else _here(model, settings.load(flags=flags), runner, context.obj)
        )
        stream, name = stack.enter_context(reached)
        talk = Talk(runner, stream, name, SamplingParams(temperature=temperature), max_tokens)
        if system:
            talk.messages.append(Message(role=Role.SYSTEM, content=system))
        if message is None:
            _converse(talk)
            return
        shown = talk.ask(message, quiet=as_json)
        if as_json:
            print_json(
                {
                    "model": name,
                    "answer": shown.text,
                    "completion_tokens": shown.tokens,
                    "ttft_s": shown.ttft_s,
                    "decode_tok_s": shown.decode_tok_s,
                }
            )


def _converse(talk: Talk) -> None:
    say(f"{talk.model}. Ctrl-C stops an answer, Ctrl-D ends.", style="dim")
    while True:
        try:
            text = input("\n> ")
        except (EOFError, KeyboardInterrupt):
            say()
            return
        if not text.strip():
            continue
        try:
            talk.ask(text)
        except KeyboardInterrupt:
            say("stopped", style="dim")
        except HeadraceError as exc:
            say(str(exc), style="red")


@contextmanager
def _here(
    model: str | None, config: Config, runner: asyncio.Runner, launched: Launched | None
) -> Generator[tuple[Stream, str], None, None]:
    """A model of this machine, by the same builder as `headrace serve`."""
    from headrace.gateway.build import build_local
    from headrace.model import bundled_model

    path = Path(model) if model else bundled_model()
    provider = build_local([path], config, SystemClock(), launched)
    try:
        with loading_bars() as bars:
            runner.run(provider.start(bars))
        end_of_start()
        yield provider.stream, provider.models[0].id
    finally:
        runner.run(provider.stop())


@contextmanager
def _there(
    url: str, model: str | None, runner: asyncio.Runner
) -> Generator[tuple[Stream, str], None, None]:
    """A running server; asks for a key if it wants one."""
    from headrace.cli.remote import RemoteServer

    server = RemoteServer(url)
    try:
        try:
            name = model or runner.run(server.first_model())
        except Unauthenticated:
            runner.run(server.close())
            server = RemoteServer(url, typer.prompt("API key", hide_input=True, err=True))
            name = model or runner.run(server.first_model())
        yield server.stream, name
    finally:
        runner.run(server.close())
