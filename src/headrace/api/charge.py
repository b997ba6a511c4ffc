"""What a running request costs its caller, in limits and in money: counted and settled as one."""

from collections.abc import Callable
from typing import Protocol, Self

from headrace.accounts import Account
from headrace.config import TierConfig
from headrace.metering import Payer
from headrace.types import Usage


class Counter(Protocol):
    """Somebody who counts a request's tokens: the limits, the meter."""

    def start(self, prompt_tokens: int) -> None:
        """It runs."""
        ...

    def count(self, tokens: int) -> None:
        """So many more tokens are about to be delivered."""
        ...

    def settle(self, used: Usage) -> None:
        """It ended, and its caller will see this usage."""
        ...

    def release(self) -> None:
        """It is over; if it was not settled, what was counted is what it used."""
        ...


class Charge:
    """All who count a request; it is over when the block is, however that ends."""

    __slots__ = ("_counters", "_counts")

    def __init__(self) -> None:
        self._counters: list[Counter] = []
        self._counts: list[Callable[[int], None]] = []  # bound once: they are called for each event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for counter in self._counters:
            counter.release()

    def add(self, counter: Counter) -> None:
        """One more who counts."""
        self._counters.append(counter)
        self._counts.append(counter.count)

    def start(self, prompt_tokens: int) -> None:
        """It runs."""
        for counter in self._counters:
            counter.start(prompt_tokens)

    def count(self, tokens: int) -> None:
        """So many more tokens are about to be delivered."""
        for count in self._counts:
            count(tokens)

    def settle(self, used: Usage) -> None:
        """It ended, and its caller will see this usage."""
        for counter in self._counters:
            counter.settle(used)


def payer_of(account: Account, entitled: TierConfig) -> Payer:
    """Who pays for what an account asks."""
    return Payer(
        organisation_id=account.organisation_id,
        project_id=account.project_id,
        key_id=account.key_id,
        tier=account.tier.value,
        billing=entitled.billing,
        budget_micros=account.limits.budget_micros,
    )
