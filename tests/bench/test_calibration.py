"""The client measured by itself. How well is a benchmark's question, and no test's."""

import asyncio
import multiprocessing

from headrace.bench.calibration import calibrate
from headrace.clock import SystemClock


def test_nothing_is_measured_earlier_than_it_was_and_the_server_is_gone() -> None:
    found = asyncio.run(calibrate(SystemClock()))
    assert found.ttft_s >= found.true_ttft_s == 0.03
    assert found.tpot_s > 0
    assert "30 ms to the first token measured as" in str(found)
    assert multiprocessing.active_children() == []
