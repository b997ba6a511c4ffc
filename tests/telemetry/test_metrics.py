"""The definitions and their page say the same."""

import itertools
from pathlib import Path

from headrace.engine.messages import Stats
from headrace.telemetry.metrics import GAPS_S, OF_ENGINES, OF_REQUESTS, WAITS_S

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_has_a_row_for_each_metric_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `headrace_")]
    assert rows == [
        f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.says} |"
        for m in (*OF_REQUESTS, *OF_ENGINES)
    ]


def test_every_counter_of_the_engine_is_told_once() -> None:
    assert sorted(m.field for m in OF_ENGINES) == sorted(Stats.__struct_fields__)


def test_buckets_rise_from_what_a_fast_server_does_to_what_nobody_waits_for() -> None:
    for bounds in (WAITS_S, GAPS_S):
        assert list(bounds) == sorted(set(bounds))
    assert (WAITS_S[0], WAITS_S[-1]) == (0.0005, 60.0)
    assert all(
        high / low <= 3 for bounds in (WAITS_S, GAPS_S) for low, high in itertools.pairwise(bounds)
    )
