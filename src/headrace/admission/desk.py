"""Admits requests: an account's tier and key become limits, and its history an estimate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from zoneinfo import ZoneInfo

from headrace.accounts import Account
from headrace.accounts.account import UNLIMITED, KeyLimits
from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.admission.limiter import Ask, Hold, Limiter
from headrace.admission.limits import NO_LIMITS, Cost, Limits, Standing
from headrace.admission.outputs import Outputs
from headrace.admission.patience import Patience
from headrace.admission.refusals import Refusal, Refusals
from headrace.clock import Clock
from headrace.config import TierConfig
from headrace.errors import RateLimited
from headrace.store import Used
from headrace.types import Usage


class Admission:
    """An admitted request's place: counted while it runs, settled when it ends, however it does."""

    __slots__ = ("_cached_percent", "_hold", "_key_id", "_model", "_outputs", "count", "standings")

    def __init__(
        self, hold: Hold, outputs: Outputs, key_id: str, model: str, cached_percent: int
    ) -> None:
        self._hold = hold
        self.count = hold.count  # called for each event: without a step in between
        self.standings = hold.standings  # how its account's limits for its model stand
        self._outputs = outputs
        self._key_id = key_id
        self._model = model
        self._cached_percent = cached_percent

    def start(self, prompt_tokens: int) -> None:
        """It runs: its prompt is used."""
        self._hold.start()
        self._hold.count(prompt_tokens)

    def settle(self, used: Usage) -> None:
        """The request ended with this usage; what was reserved beyond it comes back."""
        charged = _charged(used.total_tokens, used.cached_tokens, self._cached_percent)
        self._hold.settle(charged, used.total_tokens - used.cached_tokens)
        self._outputs.add(self._key_id, self._model, used.completion_tokens)

    def release(self) -> None:
        """It is over: what was counted stays used, if it was not settled before."""
        self._hold.settle()


class Desk:
    """Who may run what, now."""

    def __init__(
        self,
        clock: Clock,
        tiers: Mapping[str, TierConfig],
        *,
        time_zone: str = "UTC",
        is_open: bool = False,
    ) -> None:
        """`is_open`: nobody has limits."""
        self._is_open = is_open
        self._tiers: Mapping[str, TierConfig] = {}
        self._limits: Mapping[str, Limits] = {}
        self.replace_tiers(tiers)
        self._outputs = Outputs()
        self._limiter = Limiter(clock, ZoneInfo(time_zone))
        self._patience = Patience(self._limiter, clock)
        self._refusals = Refusals(clock)

    def replace_tiers(self, tiers: Mapping[str, TierConfig]) -> None:
        """What tiers may use from now on; what was used stays used."""
        self._tiers = tiers
        self._limits = {
            name: NO_LIMITS if self._is_open else _limits_of_tier(tier)
            for name, tier in tiers.items()
        }

    def remember(self, used: Iterable[Used]) -> None:
        """What was used before this server began, oldest first: a restart refills nothing."""
        for each in used:
            tier = self._tiers.get(each.tier)
            percent = 100 if tier is None else tier.cached_percent
            self._limiter.remember(
                organisation_id=_pooled(each.organisation_id, each.key_id),
                key_id=each.key_id,
                model=each.model,
                at_unix=each.at_unix,
                cost=Cost(
                    each.requests,
                    _charged(each.total_tokens, each.cached_tokens, percent),
                    each.total_tokens - each.cached_tokens,
                ),
            )

    @property
    def tiers(self) -> Mapping[str, TierConfig]:
        """What each tier may use, by name."""
        return self._tiers

    @property
    def is_open(self) -> bool:
        """Whether nobody has limits."""
        return self._is_open

    def entitled(self, account: Account) -> TierConfig:
        """What an account's tier may use."""
        return self._tiers[account.tier.value]

    def tenant(self, account: Account) -> str:
        """Who shares limits, a part of the service and cached prompts with an account."""
        return _pooled(account.organisation_id, account.key_id)

    def kept_from(self, account: Account) -> float:
        """The part of the service, of 1, that other tiers have reserved."""
        own = account.tier.value
        return sum(t.reserved_percent for name, t in self._tiers.items() if name != own) / 100

    async def admit(
        self,
        account: Account,
        model: str,
        *,
        prompt_tokens: int,
        most_outputs: Sequence[int],
        patience_s: float = 0.0,
    ) -> Admission:
        """A place for a request whose answers take `most_outputs` tokens each at most.

        Raises RateLimited, after `patience_s` seconds of waiting at most, and RequestTooLarge.
        """
        expected = sum(self._outputs.expected(account.key_id, model, most) for most in most_outputs)
        ask = self._ask(account, model, prompt_tokens, expected)
        try:
            hold = await self._patience.reserve(ask, patience_s)
        except RateLimited as exc:
            self._refusals.add(account.key_id, model, exc)
            raise
        percent = self._tiers[account.tier.value].cached_percent
        return Admission(hold, self._outputs, account.key_id, model, percent)

    def refusals(self, key_id: str) -> Sequence[Refusal]:
        """What was refused to a key lately, and why; the newest first."""
        return self._refusals.of(key_id)

    def standings(self, account: Account, model: str) -> Sequence[Standing]:
        """How an account's limits for a model stand."""
        return self._limiter.standings(self._ask(account, model, 0, 0))

    def _ask(self, account: Account, model: str, prompt_tokens: int, output_tokens: int) -> Ask:
        is_held = account.limits is not UNLIMITED and not self._is_open
        return Ask(
            organisation_id=_pooled(account.organisation_id, account.key_id),
            key_id=account.key_id,
            model=model,
            of_organisation=self._limits[account.tier.value],
            of_key=_limits_of_key(account.limits) if is_held else NO_LIMITS,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
        )


def _pooled(organisation_id: str, key_id: str) -> str:
    """Who shares limits: a key that the operator made has a tier of its own, and limits with it."""
    return key_id if organisation_id in ("", DEFAULT_ORGANISATION) else organisation_id


def _charged(total_tokens: int, cached_tokens: int, cached_percent: int) -> int:
    return total_tokens - cached_tokens * (100 - cached_percent) // 100


_NAMES = tuple(field.name for field in fields(Limits))


def _limits_of_tier(tier: TierConfig) -> Limits:
    found = Limits(**{name: getattr(tier, name) or None for name in _NAMES})
    return NO_LIMITS if found == NO_LIMITS else found


@lru_cache(maxsize=4_096)
def _limits_of_key(limits: KeyLimits) -> Limits:
    """A key has no limits by the hour; its limit of 0 lets nothing pass."""
    found = Limits(
        requests_per_minute=limits.requests_per_minute,
        requests_per_day=limits.requests_per_day,
        tokens_per_minute=limits.tokens_per_minute,
        tokens_per_day=limits.tokens_per_day,
        concurrent_requests=limits.concurrent_requests,
    )
    return NO_LIMITS if found == NO_LIMITS else found
