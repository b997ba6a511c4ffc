"""Reserve, settle, release: all limits of a request, or none.

A request reserves what it is likely to use. What it uses beyond is taken while it runs and never
cuts it off: an overdrawn bucket delays the next one. What it did not use comes back when it ends,
however it ends.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import cast

import msgspec

from headrace.admission.limits import (
    NO_LIMITS,
    SPAN_NS,
    UNITS,
    Cost,
    Limits,
    Span,
    Standing,
    Unit,
    name_of,
)
from headrace.admission.windows import NANO, Bucket, Calendar, Day, Window
from headrace.clock import Clock
from headrace.errors import RateLimited, RequestTooLarge

_KEPT = 50_000  # pools without running requests; beyond, the one longest unused is forgotten
_AHEAD = 63  # tokens: taking one at a time would cost as much as delivering it
_PLACE_RETRY_S = 1.0  # when a request will begin or end is nobody's to know


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request wants, and whose limits it is held to."""

    organisation_id: str
    key_id: str
    model: str
    of_organisation: Limits  # for each model
    of_key: Limits  # over all models
    prompt_tokens: int
    output_tokens: int  # expected


class Hold:
    """What one request has reserved. Whoever has it settles it, however the request ends."""

    __slots__ = ("_is_over", "_is_queued", "_limiter", "_pools", "reserved", "used")

    def __init__(self, limiter: "Limiter", pools: "tuple[_Pool, ...]", tokens: int) -> None:
        self._limiter = limiter
        self._pools = pools
        self._is_over = False
        self._is_queued = True
        self.reserved = tokens
        self.used = 0

    def start(self) -> None:
        """Its answer begins: it waits no more."""
        if self._is_queued:
            self._is_queued = False
            for pool in self._pools:
                pool.queued -= 1

    def standings(self) -> Sequence[Standing]:
        """How all limits of the request stand."""
        return self._limiter.standings_of(self._pools)

    def count(self, tokens: int) -> None:
        """So many more tokens were used: beyond what is reserved they are taken, some ahead."""
        self.used += tokens
        if self.used > self.reserved:
            more = self.used - self.reserved + _AHEAD
            self._limiter.take(self._pools, Cost(0, more, more))
            self.reserved += more

    def settle(self, used_tokens: int | None = None, uncached_tokens: int | None = None) -> None:
        """Give back what was not used, and the place. A second time does nothing.

        What is charged in the end; without it, what was counted, all of it uncached.
        """
        if self._is_over:
            return
        self._is_over = True
        self.start()
        used = self.used if used_tokens is None else used_tokens
        uncached = used if uncached_tokens is None else uncached_tokens
        self._limiter.take(self._pools, Cost(0, used - self.reserved, uncached - self.reserved))
        for pool in self._pools:
            pool.running -= 1


class Limiter:
    """The limits of one process."""

    def __init__(self, clock: Clock, zone: tzinfo = UTC) -> None:
        self._clock = clock
        calendar = Calendar(zone, unix_s=clock.unix_s(), now_ns=self._now_ns())
        self._calendar = calendar
        self._pools: OrderedDict[tuple[str, ...], _Pool] = OrderedDict()
        self._past: defaultdict[tuple[str, ...], list[tuple[int, Cost]]] = defaultdict(list)

    def remember(
        self, *, organisation_id: str, key_id: str, model: str, at_unix: float, cost: Cost
    ) -> None:
        """What was used before this limiter was made; in the order of time."""
        past = self._calendar.at_ns(at_unix), cost
        self._past["organisation", organisation_id, model].append(past)
        self._past["key", key_id].append(past)

    def reserve(self, ask: Ask) -> Hold:
        """Take one request and its tokens from every limit, or from none.

        Raises RateLimited naming the limit that is longest in the way, and RequestTooLarge for a
        prompt that no waiting would let pass.
        """
        now_ns = self._now_ns()
        pools = self._pools_of(ask, now_ns)
        tokens = _reserved(pools, ask)
        cost = Cost(1, tokens, tokens)
        entered: list[_Pool] = []
        for pool in pools:
            if not pool.enter(cost, now_ns):
                for other in entered:
                    other.leave(cost, now_ns)
                raise cast("RateLimited", _obstacle(pools, tokens, now_ns))
            entered.append(pool)
        return Hold(self, pools, tokens)

    def obstacle(self, ask: Ask) -> RateLimited | None:
        """What `reserve` would raise now, without taking anything. Raises RequestTooLarge."""
        now_ns = self._now_ns()
        pools = self._pools_of(ask, now_ns)
        return _obstacle(pools, _reserved(pools, ask), now_ns)

    def take(self, pools: "tuple[_Pool, ...]", more: Cost) -> None:
        """More of a request that runs; negative: less."""
        if more.tokens or more.uncached_tokens:
            now_ns = self._now_ns()
            for pool in pools:
                pool.take(more, now_ns)

    def standings(self, ask: Ask) -> list[Standing]:
        """How all limits of a request would stand."""
        return self.standings_of(self._pools_of(ask, self._now_ns()))

    def standings_of(self, pools: "tuple[_Pool, ...]") -> list[Standing]:
        """How all limits stand; of two of one name, the one with less left."""
        now_ns = self._now_ns()
        if len(pools) == 1:
            return pools[0].standings(now_ns)
        found: dict[str, Standing] = {}
        for pool in pools:
            for standing in pool.standings(now_ns):
                known = found.get(standing.name)
                if known is None or standing.remaining < known.remaining:
                    found[standing.name] = standing
        return list(found.values())

    def _pools_of(self, ask: Ask, now_ns: int) -> "tuple[_Pool, ...]":
        pools: tuple[_Pool, ...] = ()
        if ask.of_organisation is not NO_LIMITS:
            name = ("organisation", ask.organisation_id, ask.model)
            pools = (self._pool(name, ask.of_organisation, now_ns),)
        if ask.of_key is not NO_LIMITS:
            pools += (self._pool(("key", ask.key_id), ask.of_key, now_ns),)
        return pools

    def _pool(self, name: tuple[str, ...], limits: Limits, now_ns: int) -> "_Pool":
        pool = self._pools.get(name)
        if pool is None:
            past = self._past.pop(name, ())
            made_ns = min(past[0][0], now_ns) if past else now_ns
            pool = _Pool(name[0], limits, self._calendar.day_end_ns, made_ns)
            for at_ns, cost in past:
                pool.take(cost, min(at_ns, now_ns))
            self._pools[name] = pool
            if len(self._pools) > _KEPT:
                self._forget_one()
        elif pool.limits is not limits and pool.limits != limits:
            pool.change(limits, self._calendar.day_end_ns, now_ns)
        self._pools.move_to_end(name)
        return pool

    def _forget_one(self) -> None:
        """The pool longest unused, among the few oldest that have nothing running."""
        for name in list(self._pools)[:64]:
            if not self._pools[name].running:
                del self._pools[name]
                return

    def _now_ns(self) -> int:
        return round(self._clock.now_s() * NANO)


def _reserved(pools: "tuple[_Pool, ...]", ask: Ask) -> int:
    """Tokens to reserve, no more than any limit has in all. Raises RequestTooLarge."""
    tokens = ask.prompt_tokens + ask.output_tokens
    for pool in pools:
        tokens = min(tokens, pool.most_tokens(ask.prompt_tokens))
    return tokens


def _obstacle(pools: "tuple[_Pool, ...]", tokens: int, now_ns: int) -> RateLimited | None:
    """The limit that is longest in the way of a request of so many tokens."""
    found = (pool.obstacle(tokens, now_ns) for pool in pools)
    return max(filter(None, found), key=lambda refusal: refusal.wait_s, default=None)


_DayEnd = Callable[[int], int]


class _Pool:
    """The windows of one organisation and model, or of one key."""

    __slots__ = ("_counted", "_most_tokens", "_whose", "_windows", "limits", "queued", "running")

    def __init__(self, whose: str, limits: Limits, day_end_ns: "_DayEnd", now_ns: int) -> None:
        self._whose = whose
        self._windows: dict[tuple[Unit, Span], Window] = {}
        self._counted: tuple[tuple[int, Window, str, Span], ...] = ()  # unit, window, name, span
        self._most_tokens = 1 << 62  # that a request can reserve
        self.limits = NO_LIMITS
        self.running = 0
        self.queued = 0
        self.change(limits, day_end_ns, now_ns)

    def change(self, limits: Limits, day_end_ns: "_DayEnd", now_ns: int) -> None:
        """Other limits from now on; what is used stays used."""
        before = self._windows
        self._windows = {}
        for unit, span, limit in limits.of_windows():
            if span == "day":
                window: Window = Day(limit, day_end_ns, now_ns)
            else:
                window = Bucket(limit, SPAN_NS[span], now_ns)
            known = before.get((unit, span))
            if known is not None:
                window.take(min(known.used(now_ns), 2 * limit), now_ns)
            self._windows[unit, span] = window
        self._counted = tuple(
            (UNITS.index(unit), window, name_of(unit, span), span)
            for (unit, span), window in self._windows.items()
        )
        tokens = [w.limit for (unit, _), w in self._windows.items() if unit != "requests"]
        self._most_tokens = min(tokens, default=1 << 62)
        self.limits = limits

    def most_tokens(self, prompt_tokens: int) -> int:
        """The most a request can reserve here. Raises RequestTooLarge if the prompt is more."""
        least = self._most_tokens
        if prompt_tokens > least:
            raise RequestTooLarge(
                f"the prompt has {prompt_tokens:,} tokens, and the {self._whose}'s limit is "
                f"{least:,}: shorten it, or ask for a larger limit",
                param="messages",
            )
        return least

    def enter(self, cost: Cost, now_ns: int) -> bool:
        """Take the cost of a request and a place for it, or nothing if something is in the way."""
        limits = self.limits
        if limits.concurrent_requests is not None and self.running >= limits.concurrent_requests:
            return False
        if limits.queued_requests is not None and self.queued >= limits.queued_requests:
            return False
        for unit, window, _, _ in self._counted:
            if not window.enter(cost[unit], now_ns):
                self._give_back(cost, window, now_ns)
                return False
        self.running += 1
        self.queued += 1
        return True

    def leave(self, cost: Cost, now_ns: int) -> None:
        """As if it had not entered."""
        self._give_back(cost, None, now_ns)
        self.running -= 1
        self.queued -= 1

    def _give_back(self, cost: Cost, before: Window | None, now_ns: int) -> None:
        """To all windows, or to those in front of one."""
        for unit, window, _, _ in self._counted:
            if window is before:
                break
            window.take(-cost[unit], now_ns)

    def obstacle(self, tokens: int, now_ns: int) -> RateLimited | None:
        """The limit that is longest in the way of a request of so many tokens."""
        worst = self._place("concurrent requests", self.limits.concurrent_requests, self.running)
        worst = worst or self._place("queued requests", self.limits.queued_requests, self.queued)
        for (unit, span), window in self._windows.items():
            cost = 1 if unit == "requests" else tokens
            wait_ns = window.wait_ns(min(cost, window.limit), now_ns) if window.limit else 1 << 62
            if wait_ns and (worst is None or wait_ns / NANO > worst.wait_s):
                worst = RateLimited(
                    bucket=f"{unit} per {span}",
                    whose=self._whose,
                    limit=window.limit,
                    used=window.used(now_ns),
                    requested=cost,
                    wait_s=wait_ns / NANO,
                    unit="requests" if unit == "requests" else "tokens",
                )
        return worst

    def _place(self, bucket: str, most: int | None, used: int) -> RateLimited | None:
        if most is None or used < most:
            return None
        return RateLimited(
            bucket=bucket,
            whose=self._whose,
            limit=most,
            used=used,
            requested=1,
            wait_s=_PLACE_RETRY_S,
            unit="requests",
        )

    def take(self, cost: Cost, now_ns: int) -> None:
        for unit, window, _, _ in self._counted:
            taken = cost[unit]
            if taken:
                window.take(taken, now_ns)

    def standings(self, now_ns: int) -> list[Standing]:
        found: list[Standing] = []
        for _, window, name, span in self._counted:
            used, reset_ns = window.standing(now_ns)
            found.append(Standing(name, span, self._whose, window.limit, used, reset_ns / NANO))
        return found
