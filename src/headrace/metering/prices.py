"""What tokens cost: integers, versions, one documented rounding."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.config import PriceConfig
from headrace.errors import ConfigError
from headrace.types import Usage

MICROS = 1_000_000  # of a dollar; and tokens of a price


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Micro-dollars for a million tokens, from `since_unix` on."""

    version: str  # of what it was written with in a record: model and first day
    input_micros: int
    cached_micros: int  # of prompt tokens that were in the cache
    output_micros: int
    since_unix: int = 0

    def amount(self, used: Usage) -> int:
        """Micro-dollars for `used`, rounded once, half up."""
        fresh = used.prompt_tokens - used.cached_tokens
        whole = (
            fresh * self.input_micros
            + used.cached_tokens * self.cached_micros
            + used.completion_tokens * self.output_micros
        )
        return (2 * whole + MICROS) // (2 * MICROS)

    def most(self, prompt_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens can cost, whatever was cached."""
        dearest = max(self.input_micros, self.cached_micros)
        whole = prompt_tokens * dearest + output_tokens * self.output_micros
        return -(-whole // MICROS)

    def affordable(self, micros: int, prompt_tokens: int) -> int:
        """The longest answer that `micros` pay for, beside the prompt; below 0: not even that."""
        dearest = max(self.input_micros, self.cached_micros)
        left = micros * MICROS - prompt_tokens * dearest
        if left < 0:
            return -1
        return left // self.output_micros if self.output_micros else 1 << 62


FREE = Price(version="free", input_micros=0, cached_micros=0, output_micros=0)


class PriceList:
    """The prices of all models, by model and time."""

    def __init__(self, prices: Sequence[PriceConfig]) -> None:
        """Raises as `replace` does."""
        self._versions: dict[str, list[Price]] = {}
        self.replace(prices)

    def replace(self, prices: Sequence[PriceConfig]) -> None:
        """These and no others from now on.

        Raises ConfigError for two prices of one model that begin at the same time; then nothing
        has changed.
        """
        found: dict[str, list[Price]] = {}
        for price in prices:
            versions = found.setdefault(price.model, [])
            made = _price(price)
            if any(made.since_unix == known.since_unix for known in versions):
                raise ConfigError(
                    f"setting 'prices': two prices of '{price.model}' begin on "
                    f"{price.since or 'the first day'}"
                )
            versions.append(made)
            versions.sort(key=lambda version: version.since_unix)
        self._versions = found

    @property
    def versions(self) -> Sequence[tuple[str, Price]]:
        """All prices there are, by model, oldest first."""
        return [(model, each) for model in sorted(self._versions) for each in self._versions[model]]

    def at(self, model: str, unix_s: float) -> Price:
        """The price of a model at a time; a model without one costs nothing."""
        for version in reversed(self._versions.get(model, ())):
            if version.since_unix <= unix_s:
                return version
        return FREE


def _price(config: PriceConfig) -> Price:
    since = 0
    if config.since:
        since = int(datetime.fromisoformat(config.since).replace(tzinfo=UTC).timestamp())
    output = config.output_micros
    cached = config.cached_input_micros
    return Price(
        version=f"{config.model}@{config.since or 'start'}",
        input_micros=config.input_micros,
        cached_micros=config.input_micros if cached is None else cached,
        output_micros=config.input_micros if output is None else output,
        since_unix=since,
    )
