"""What an answer costs, by a price table that says from when and from whom it is.

[models."llama-3.1-8b"]
input = 0.10            # per million tokens, in `currency`
cached_input = 0.05     # optional; else as `input`
output = 0.10
currency = "USD"
date = 2026-11-01
source = "the provider's price page"
"""

import datetime
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.bench.client import Answer
from headrace.errors import ConfigError


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one model, per million tokens."""

    input: float
    output: float
    currency: str
    date: datetime.date
    source: str
    cached_input: float | None = None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, Price]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Tokens of some answers, and their price in millionths of the currency, where known."""

    prompt_tokens: int
    output_tokens: float
    micro: float | None


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by model. Raises ConfigError, which names the file."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _Table).models
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ConfigError(f"price table {path}: {exc}") from exc


def spent(answers: tuple[Answer, ...], price: Price | None) -> Spent:
    """What `answers` cost, failed ones included by the tokens that are known of them.

    Tokens times the price of a million tokens are millionths of the currency.
    """
    prompt = sum(answer.prompt_tokens or 0 for answer in answers)
    output = sum(answer.output_tokens for answer in answers)
    micro = None
    if price is not None:
        cached = sum(answer.cached_tokens or 0 for answer in answers)
        cached_price = price.input if price.cached_input is None else price.cached_input
        micro = (prompt - cached) * price.input + cached * cached_price + output * price.output
    return Spent(prompt_tokens=prompt, output_tokens=output, micro=micro)
