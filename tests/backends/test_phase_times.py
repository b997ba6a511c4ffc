"""How long phases take: measured on the cpu, by closed forms on the wafer, under the same names."""

import time
from collections.abc import Callable

import pytest

from headrace.backends.base import Backend
from headrace.backends.cpu import CpuBackend
from headrace.backends.phase_times import (
    ALONE,
    ATTENTION,
    DOWN,
    EMBEDDING,
    GATE_UP,
    HEAD,
    OUTPUT,
    PROJECTIONS,
    phase_names,
)
from headrace.backends.wafer import WaferBackend
from headrace.backends.wafer.capacity import placed
from headrace.backends.wafer.simulated_phases import HAND_OVER, simulated_phases
from headrace.backends.wafer.timing import token_cycles, token_works
from headrace.clock import SystemClock
from headrace.engine import Engine
from headrace.engine.messages import Cancel, Submit, Tokens
from headrace.model.lowering import lower
from headrace.wafer.machine import mesh
from tests.backends.test_wafer import PROGRAMS, prompt
from tests.golden_cases import load_case, open_case
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

PROGRAM = tiny_program()
KINDS = [EMBEDDING, PROJECTIONS, ATTENTION, OUTPUT, GATE_UP, DOWN, HEAD]
TABLES = scrambled_tables(1, 64, 8)


def cpu() -> CpuBackend:
    return CpuBackend(PROGRAM, random_weights(PROGRAM), num_blocks=8, threads=1)


def wafer() -> WaferBackend:
    return WaferBackend(PROGRAM, random_weights(PROGRAM), num_blocks=8, machine=mesh(16, 16))


def submit(name: str, **changes: object) -> Submit:
    fields: dict[str, object] = {
        "id": name,
        "prompt": tuple(prompt(PROGRAM, 20)),
        "max_tokens": 8,
        "stop_ids": (),
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "seed": 0,
    }
    return Submit(**(fields | changes))  # type: ignore[arg-type]


def test_the_cpu_tells_every_kind_and_no_more_than_the_time_that_passed() -> None:
    backend = cpu()
    backend.step(rows_batch({0: (0, prompt(PROGRAM, 20))}, TABLES))
    assert backend.phase_times() == ()
    backend.watch_phases(True)
    began_s = time.perf_counter()
    for position in range(20, 24):
        backend.step(rows_batch({0: (position, [1])}, TABLES))
    passed_s = time.perf_counter() - began_s
    times = backend.phase_times()
    assert [phase.name for phase in times] == KINDS
    assert all(phase.seconds > 0 for phase in times)
    assert sum(phase.seconds for phase in times) <= passed_s / 4
    backend.close()


def test_reading_a_prompt_is_no_part_of_it_and_watching_again_begins_anew() -> None:
    backend = cpu()
    backend.watch_phases(True)
    backend.step(rows_batch({0: (0, prompt(PROGRAM, 20))}, TABLES))
    assert backend.phase_times() == ()
    backend.step(rows_batch({0: (20, [1])}, TABLES))
    assert backend.phase_times()
    backend.watch_phases(True)
    assert backend.phase_times() == ()
    backend.close()


def test_watching_changes_no_token() -> None:
    found: list[list[int]] = []
    for watch in (False, True):
        backend = cpu()
        backend.watch_phases(watch)
        drawn = backend.step(rows_batch({0: (0, prompt(PROGRAM, 20))}, TABLES)).token_ids.tolist()
        for position in range(20, 40):
            batch = rows_batch({0: (position, drawn[-1:])}, TABLES)
            drawn += backend.step(batch).token_ids.tolist()
        found.append(drawn)
        backend.close()
    assert found[0] == found[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_wafer_s_phases_sum_to_the_time_of_a_token(name: str) -> None:
    program = PROGRAMS[name]
    backend = WaferBackend(program, random_weights(program), num_blocks=8, machine=mesh(16, 16))
    phases = simulated_phases(program, backend.placement, 30)
    cycles = sum(c.total for c in token_cycles(program, backend.placement, 30).values())
    seconds = sum(phase.seconds for phase in phases)
    assert seconds == pytest.approx(cycles / backend.placement.machine.clock_hz.value)
    assert {phase.name for phase in phases} <= {*KINDS, HAND_OVER}
    assert {PROJECTIONS, ATTENTION, GATE_UP, DOWN, HEAD} <= {phase.name for phase in phases}


@pytest.mark.parametrize("name", ["gpt_oss_mxfp4", "mixtral", "qwen3_moe", "deepseek_v3_moe"])
def test_the_wafer_s_experts_are_a_phase_as_on_the_cpu(name: str) -> None:
    program = open_case(load_case(name)).program
    placement = placed(program, mesh(64, 64), 4)
    phases = {phase.name: phase.seconds for phase in simulated_phases(program, placement, 20)}
    assert set(phases) - {HAND_OVER} == set(phase_names(lower(program))) - {ALONE}
    works = [
        w for stage in token_works(program, placement, 20) for w in (*stage.entry, *stage.works)
    ]
    assert [w.name for w in works].count("scores of experts") > 0
    total = sum(c.total for c in token_cycles(program, placement, 20).values())
    assert sum(phases.values()) == pytest.approx(total / placement.machine.clock_hz.value)


@pytest.mark.parametrize("make", [cpu, wafer])
def test_an_engine_tells_them_with_the_last_token_of_a_sequence_that_asked(
    make: Callable[[], Backend],
) -> None:
    backend = make()
    engine = Engine(backend, SystemClock(), max_sequences=2, max_step_tokens=64, max_waiting=4)
    engine.handle(submit("watched", is_watched=True))
    engine.handle(submit("other", max_tokens=12))
    said: list[Tokens] = []
    while not engine.is_idle:
        said += [m for m in engine.step() if isinstance(m, Tokens)]
    told = [m for m in said if m.phases]
    assert [(m.id, m.finish) for m in told] == [("watched", "length")]
    assert {name for name, _ in told[0].phases} - {HAND_OVER} == set(KINDS)
    engine.handle(submit("gone", is_watched=True))
    engine.step()
    engine.handle(Cancel(id="gone"))
    assert engine.is_idle
    backend.close()
