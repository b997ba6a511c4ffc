"""A log of requests, asked again: of one endpoint, or of several at the same moments.

Where the log has answers, they are an endpoint too, so that differences can be taken in pairs. Open
loop: each request leaves at the log's time, whatever became of those before. One by one: the next
leaves when all endpoints have answered, in random order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.bench.load import Endpoint, LagWatch, Loader, OpenLoop, Player, Together, counted_by
from headrace.bench.metrics import Attempt
from headrace.bench.probe import probed
from headrace.bench.run import Run
from headrace.bench.scenarios import Outcome
from headrace.bench.scenarios.log import REPLAY, Log

LOGGED = "the log"  # the endpoint whose answers the log has


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Replays `log`; `cpu_s` gives this process's processor time."""

    log: Log
    player: Player
    endpoints: Sequence[Endpoint]
    cpu_s: Callable[[], float]

    async def at_its_times(self, loader: Loader, speed: float) -> Run:
        """Open loop, `speed` times as fast. Raises ConfigError for a log without times."""
        due = [(at_s, index) for index, at_s in enumerate(self.log.times_s(speed))]
        orders = tuple(
            OpenLoop(
                endpoint=place,
                make=self.log,
                extensions=endpoint.extensions,
                due=due,
                stage="",
            )
            for place, endpoint in enumerate(await self._probed())
        )
        loaded = await loader.load(Together(orders))
        run = Run(attempts=loaded.attempts)
        run.add_lags(REPLAY, loaded)
        return self._finished(run)

    async def one_by_one(self) -> Run:
        """Each request of all endpoints before the next."""
        rng = np.random.default_rng(self.player.seed)
        run, endpoints = Run(), await self._probed()
        async with LagWatch(self.player.clock, self.cpu_s) as watch:
            for index in range(len(self.log.requests)):
                for place in rng.permutation(len(endpoints)):
                    task = self.log(index)
                    attempt = await self.player.play(endpoints[int(place)], task)
                    if attempt is not None:
                        run.attempts.append(attempt)
        run.lags[REPLAY] = watch.lag(run.attempts)
        run.attempts = counted_by(endpoints, run.attempts)
        return self._finished(run)

    async def _probed(self) -> list[Endpoint]:
        """The endpoints, knowing what they take."""
        return [await probed(endpoint, self.player) for endpoint in self.endpoints]

    def _finished(self, run: Run) -> Run:
        if self.player.budget.is_spent:
            run.notes.append("replay: cut short, the budget is spent")
        begin_s = min((attempt.start_s for attempt in run.attempts), default=0.0)
        run.attempts += logged_attempts(self.log, begin_s)
        return run


def logged_attempts(log: Log, begin_s: float) -> list[Attempt]:
    """What the log says of its own endpoint, as if it began at `begin_s`.

    Requests without an answer are left out.
    """
    found: list[Attempt] = []
    shift_s = begin_s - (log.requests[0].at_s or 0.0)
    for index, request in enumerate(log.requests):
        if request.answer is None:
            continue
        task, answer = log(index), request.answer.at((request.at_s or 0.0) + shift_s)
        outcome = Outcome.FAILED_CALL if answer.fault else task.check([answer])
        found.append(
            Attempt(
                endpoint=LOGGED,
                scenario=REPLAY,
                task=task.id,
                start_s=answer.start_s,
                end_s=answer.ended_s,
                answers=(answer,),
                outcome=outcome,
            )
        )
    return found
