"""What `bench run` and `bench race` share: endpoints from options, and the report's facts."""

import os
import platform
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from headrace import __version__
from headrace.bench.client import HttpTransport
from headrace.bench.client.answer import TokenEnds
from headrace.bench.load import Budget, Endpoint
from headrace.bench.metrics import Attempt
from headrace.bench.prices import read_prices
from headrace.bench.report.lines import Facts, Report
from headrace.bench.run import Run
from headrace.bench.summary import cells, comparisons
from headrace.clock import SystemClock
from headrace.errors import ConfigError

URL_HELP = "address of an endpoint; repeat it to compare several"
NAME_HELP = "what reports call it, one for each --url [model or host]"
MODEL_HELP = "its model, one for each --url (or one for all)"
KEY_HELP = "file with its API key, one for each --url (or one for all)"
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


@asynccontextmanager
async def endpoints(
    urls: Sequence[str],
    names: Sequence[str],
    models: Sequence[str],
    key_files: Sequence[Path],
    prices: Path | None,
    tokenizer: Path | None,
) -> AsyncGenerator[tuple[list[Endpoint], int | None], None]:
    """The endpoints and the smallest context among them, None where none says its own.

    Raises ConfigError for options that do not fit and endpoints that do not answer.
    """
    keys = [_key(path) for path in key_files] or [None]
    table = read_prices(prices) if prices else {}
    ends = token_ends(tokenizer) if tokenizer else None
    chosen_models: list[str] = []
    transports: list[HttpTransport] = []
    contexts: list[int] = []
    try:
        for url, model, key in zip(
            urls,
            one_each(models, len(urls), "--model") if models else [None] * len(urls),
            one_each(keys, len(urls), "--key-file"),
            strict=True,
        ):
            listed = await _models(url, key)
            if model is None and not listed:
                raise ConfigError(f"{url} lists no models: name one with --model")
            chosen: str = model or next(iter(listed))
            if context := listed.get(chosen):
                contexts.append(context)
            chosen_models.append(chosen)
            transports.append(HttpTransport(url, SystemClock(), key=key))
        for chosen in chosen_models:
            if prices is not None and chosen not in table:
                raise ConfigError(f"{prices} has no price of {chosen}")
        told = list(names) or _names(urls, chosen_models)
        if len(set(told)) != len(urls):
            raise ConfigError("--name: one for each --url, no two alike")
        found = [
            Endpoint(
                name=name, model=model, transport=wire, price=table.get(model), token_ends=ends
            )
            for name, model, wire in zip(told, chosen_models, transports, strict=True)
        ]
        yield found, min(contexts, default=None)
    finally:
        for wire in transports:
            await wire.close()


def _names(urls: Sequence[str], models: Sequence[str]) -> list[str]:
    """How reports call the endpoints: by model or by host, whichever tells them apart."""
    hosts = [urlsplit(url if "//" in url else f"//{url}").netloc for url in urls]
    for names in (models, hosts):
        if len(set(names)) == len(names):
            return list(names)
    return [f"{model} ({number})" for number, model in enumerate(models, 1)]


def token_ends(path: Path) -> TokenEnds:
    """Where a `tokenizer.json` sees tokens end. Raises ConfigError for a file that is none."""
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_file(str(path))
    except Exception as exc:
        raise ConfigError(f"tokenizer {path}: {exc}") from exc
    return lambda text: [end for _, end in read.encode(text, add_special_tokens=False).offsets]


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
    title: str, found: Sequence[Endpoint], run: Run, settings: dict[str, Any], unix_s: float
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
        comparisons=comparisons(attempts),
        attempts=attempts,
    )
