"""`headrace demo`: a server, one chat through the official client, and how fast it was."""

import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from headrace.cli.output import print_json, say
from headrace.errors import BackendError, ConfigError

QUESTION = "What is a headrace?"
MAX_TOKENS = 256
STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the client saw. Speed: (tokens - 1) / (last - first token)."""

    model: str
    answer: str
    prompt_tokens: int
    completion_tokens: int
    ttft_s: float
    decode_tok_s: float
    url: str
    console: str


def demo(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: the bundled model")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="end after the answer")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Start a server here, ask it one question, and stay up until Ctrl-C."""
    signal.signal(signal.SIGTERM, _end)
    with _server(model) as (url, process):
        result = _ask(url, quiet=as_json)
        if as_json:
            print_json(asdict(result))
        else:
            _report(result)
        if not once:
            say("Ctrl-C ends it.", style="dim")
            try:
                process.wait()
            except KeyboardInterrupt:
                say()


@contextmanager
def _server(model: Path | None) -> Generator[tuple[str, "subprocess.Popen[str]"], None, None]:
    """`headrace serve` on a free port, for as long as the block runs. It ends if we do."""
    command = [sys.executable, "-m", "headrace", "serve", *([str(model)] if model else [])]
    command += ["--no-auth", "--port", "0", "--log-level", "warning", "--with-stdin"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _wait_until_ready(process), process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _wait_until_ready(process: "subprocess.Popen[str]") -> str:
    for line in process.stdout or ():
        word, _, url = line.strip().partition(" ")
        if word == "ready":
            return url
    raise BackendError(f"the server ended before it was ready (exit code {process.wait()})")


def _ask(url: str, *, quiet: bool) -> DemoResult:
    try:
        import openai
    except ImportError as exc:
        raise ConfigError(
            "the demo needs the official client: pip install 'headrace[demo]'"
        ) from exc
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none needed", max_retries=0) as client:
        model = client.models.list().data[0].id
        if not quiet:
            say(f"\nyou    {QUESTION}", style="dim")
            sys.stdout.write(f"{model}    ")
        completions = client.chat.completions  # the client imports it now, outside the measurement
        started_s = time.perf_counter()
        stream = completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=MAX_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        return _follow(stream, model, url, started_s, quiet=quiet)


def _follow(stream: Any, model: str, url: str, started_s: float, *, quiet: bool) -> DemoResult:
    pieces: list[str] = []
    first_s = last_s = 0.0
    usage: Any = None
    for chunk in stream:
        text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if text:
            last_s = time.perf_counter()
            first_s = first_s or last_s
            pieces.append(text)
            if not quiet:
                sys.stdout.write(text)
                sys.stdout.flush()
        usage = chunk.usage or usage
    tokens = usage.completion_tokens
    return DemoResult(
        model=model,
        answer="".join(pieces),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=tokens,
        ttft_s=first_s - started_s,
        decode_tok_s=(tokens - 1) / (last_s - first_s) if last_s > first_s else 0.0,
        url=url,
        console=f"{url}/console",
    )


def _report(result: DemoResult) -> None:
    print("\n")
    print(f"first token  {result.ttft_s * 1e3:,.1f} ms")
    print(f"speed        {result.decode_tok_s:,.0f} tokens/s ({result.completion_tokens} tokens)")
    print(f"console      {result.console}")
    print(f"API          {result.url}/v1", flush=True)


def _end(_: int, __: FrameType | None) -> None:
    raise SystemExit(143)
