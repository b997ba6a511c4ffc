"""What the commands of the benchmark share: endpoints from options, and the report's facts."""

import os
import platform
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from headrace import __version__
from headrace.bench.client.tokens import token_ends
from headrace.bench.comparison import comparisons
from headrace.bench.likeness import likenesses
from headrace.bench.load import Address, Alone, Budget, Crew, Endpoint, Loader, Player
from headrace.bench.metrics import Attempt
from headrace.bench.prices import read_prices
from headrace.bench.report.lines import Facts, Report
from headrace.bench.run import Run
from headrace.bench.summary import cells, totals
from headrace.clock import SystemClock
from headrace.errors import ConfigError
from headrace.model import bundled_model
from headrace.model.bundle import BUNDLED_NAME

URL_HELP = "address of an endpoint; repeat it to compare several"
NAME_HELP = "what reports call it, one for each --url [model or host]"
MODEL_HELP = "its model, one for each --url (or one for all)"
KEY_HELP = "file with its API key, one for each --url (or one for all)"
COUNTER_HELP = "tokenizer.json that counts all endpoints alike [the bundled model's]"
TOKENIZER_HELP = "the model's tokenizer.json, to count what events hold"
PROCESSES_HELP = "of the client, which share the load"
PRICES_HELP = "price table, TOML"
SEED_HELP = "the same seed sends the same [a new one, so that no cache knows the prompts]"
_TIMEOUT_S = 10.0


def one_each(values: Sequence[Any], count: int, option: str) -> list[Any]:
    """A value for each endpoint. Raises ConfigError where the numbers do not fit."""
    if len(values) == count:
        return list(values)
    if len(values) == 1:
        return list(values) * count
    raise ConfigError(f"{option}: give it once, or {count} times as --url; it came {len(values)} x")


async def addresses(
    urls: Sequence[str],
    names: Sequence[str],
    models: Sequence[str],
    key_files: Sequence[Path],
    prices: Path | None,
    tokenizer: Path | None = None,
    counter: Path | None = None,
) -> tuple[list[Address], int | None]:
    """Where the endpoints are, and the smallest context among them, None where none says its own.

    Raises ConfigError for options that do not fit and endpoints that do not answer.
    """
    keys = [_key(path) for path in key_files] or [None]
    table = read_prices(prices) if prices else {}
    asked = list(
        zip(
            urls,
            one_each(models, len(urls), "--model") if models else [None] * len(urls),
            one_each(keys, len(urls), "--key-file"),
            strict=True,
        )
    )
    for path in (tokenizer, counter):
        if path is not None:
            token_ends(path)
    chosen: list[str] = []
    contexts: list[int] = []
    for url, model, key in asked:
        listed = await _models(url, key)
        if model is None and not listed:
            raise ConfigError(f"{url} lists no models: name one with --model")
        chosen.append(model or next(iter(listed)))
        if context := listed.get(chosen[-1]):
            contexts.append(context)
        if prices is not None and chosen[-1] not in table:
            raise ConfigError(f"{prices} has no price of {chosen[-1]}")
    told = list(names) or _names(urls, chosen)
    if len(set(told)) != len(urls) or len(told) != len(urls):
        raise ConfigError("--name: one for each --url, no two alike")
    found = [
        Address(
            name=name,
            url=url,
            model=model,
            key=key,
            price=table.get(model),
            tokenizer=tokenizer,
            counter=counter,
        )
        for name, model, (url, _, key) in zip(told, chosen, asked, strict=True)
    ]
    return found, min(contexts, default=None)


@asynccontextmanager
async def opened(found: Sequence[Address]) -> AsyncGenerator[list[Endpoint], None]:
    """Their endpoints. Raises ConfigError for an address that is none."""
    endpoints: list[Endpoint] = []
    try:
        endpoints += [address.open(SystemClock()) for address in found]
        yield endpoints
    finally:
        for endpoint in endpoints:
            await endpoint.transport.close()


@asynccontextmanager
async def loading(
    player: Player, found: Sequence[Address], endpoints: Sequence[Endpoint], processes: int
) -> AsyncGenerator[Loader, None]:
    """Who sends the load: this process, or so many."""
    if processes == 1:
        yield Alone(player=player, endpoints=endpoints, cpu_s=time.process_time)
        return
    async with Crew(player, found, processes) as crew:
        yield crew


def counter_file(asked: Path | None) -> Path:
    """The tokenizer that counts all endpoints alike: the bundled model's if none is asked."""
    return asked or bundled_model() / "tokenizer.json"


def counter_name(asked: Path | None) -> str:
    """How reports call it."""
    return f"tokenizer of {BUNDLED_NAME}" if asked is None else str(asked)


def _names(urls: Sequence[str], models: Sequence[str]) -> list[str]:
    """How reports call the endpoints: by model or by host, whichever tells them apart."""
    hosts = [urlsplit(url if "//" in url else f"//{url}").netloc for url in urls]
    for names in (models, hosts):
        if len(set(names)) == len(names):
            return list(names)
    return [f"{model} ({number})" for number, model in enumerate(models, 1)]


def _key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as exc:
        raise ConfigError(f"key file {path}: {exc}") from exc


async def _models(url: str, key: str | None) -> dict[str, int | None]:
    """Models served there, in order, with their contexts where told; empty where not listed."""
    base = (url if "//" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT_S) as http:
            answer = await http.get(f"{base}/v1/models")
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ConfigError(f"no answer from {url}: {exc}") from exc
    if answer.status_code in (401, 403):
        raise ConfigError(f"{url} wants an API key: give it with --key-file")
    try:
        return {card["id"]: _context(card) for card in msgspec.json.decode(answer.content)["data"]}
    except (msgspec.DecodeError, KeyError, TypeError):
        return {}


def _context(card: dict[str, Any]) -> int | None:
    for name in ("max_model_len", "context_length", "context_window"):
        if isinstance(card.get(name), int):
            return card[name]
    return None


def fresh_seed(unix_s: float) -> int:
    """A seed that no run before had; reports tell it, so that a run can be repeated."""
    return int(unix_s * 1e3) % 2**31  # some endpoints take no larger one


def budget(max_tokens: int | None, max_cost: float | None, prices: Path | None) -> Budget:
    """What may be spent at most: tokens, and units of the price table's currency.

    Raises ConfigError for a bound on money without prices, or in several currencies.
    """
    if max_cost is not None:
        if prices is None:
            raise ConfigError("--max-cost needs --prices: without them nothing is known to cost")
        if len({price.currency for price in read_prices(prices).values()}) > 1:
            raise ConfigError(f"--max-cost: {prices} has several currencies")
    return Budget(max_tokens=max_tokens, max_micro=None if max_cost is None else max_cost * 1e6)


def client_machine() -> dict[str, str]:
    """Where the client runs."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": f"{os.cpu_count()} x {names[0] if names else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
    }


def report(
    title: str, found: Sequence[Address], run: Run, settings: dict[str, Any], unix_s: float
) -> Report:
    """What is written down of a run that began at `unix_s`."""
    prices = {endpoint.name: endpoint.price for endpoint in found if endpoint.price}
    attempts: list[Attempt] = run.attempts
    return Report(
        facts=Facts(
            title=title,
            date=datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
            machine=client_machine(),
            settings=settings,
            endpoints={endpoint.name: endpoint.model for endpoint in found},
            capacity=run.capacity,
            lags=run.lags,
            notes=run.notes,
            prices=prices,
        ),
        cells=cells(attempts, prices),
        totals=totals(attempts, prices),
        comparisons=comparisons(attempts),
        likenesses=likenesses(attempts),
        attempts=attempts,
    )
