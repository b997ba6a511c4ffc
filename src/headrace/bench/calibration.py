"""The client measured by itself: against a server beside it whose times are known."""

import asyncio
import multiprocessing
import signal
import statistics
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop

from headrace.bench.client import HttpTransport, read_answer
from headrace.bench.metrics import tpot_s, ttft_s
from headrace.bench.null_script import NullScript
from headrace.bench.null_server import NullServer
from headrace.bench.scenarios.task import Call
from headrace.clock import Clock
from headrace.errors import EngineError

_SCRIPT = NullScript(first_s=0.03, gap_s=0.005, tokens=32)
_ROUNDS = 8
_START_S = 60.0  # for the server's process to be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Medians of some answers, one at a time, in seconds; and what the script says."""

    ttft_s: float
    tpot_s: float
    true_ttft_s: float = _SCRIPT.first_s
    true_tpot_s: float = _SCRIPT.gap_s

    def __str__(self) -> str:
        return (
            f"{self.true_ttft_s * 1e3:g} ms to the first token measured as "
            f"{self.ttft_s * 1e3:.2f}, {self.true_tpot_s * 1e3:g} ms a token as "
            f"{self.tpot_s * 1e3:.3f}"
        )


async def calibrate(clock: Clock) -> Calibration:
    """Ask a null server in a process of its own. Raises EngineError where it does not answer."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        if not await asyncio.to_thread(here.poll, _START_S):
            raise EngineError("the null server of the calibration did not start")
        transport = HttpTransport(here.recv(), clock)
        call = Call(messages=({"role": "user", "content": "go"},), max_tokens=_SCRIPT.tokens)
        body = call.body("null", 0)
        answers = [read_answer(await transport.post(body)) for _ in range(_ROUNDS + 1)][1:]
        await transport.close()
    finally:
        here.close()  # which ends it
        await asyncio.to_thread(process.join, 5.0)
    firsts = [value for answer in answers if (value := ttft_s(answer)) is not None]
    each = [value for answer in answers if (value := tpot_s(answer)) is not None]
    if len(firsts) < _ROUNDS or len(each) < _ROUNDS:
        raise EngineError(f"the null server of the calibration failed: {answers[0].fault}")
    return Calibration(ttft_s=statistics.median(firsts), tpot_s=statistics.median(each))


def _serve(pipe: Connection) -> None:
    """The server's life, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it

    async def serve() -> None:
        server = NullServer(_SCRIPT)
        pipe.send(await server.start())
        await asyncio.to_thread(pipe.poll, None)
        await server.close()

    uvloop.run(serve())
