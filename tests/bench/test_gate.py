"""A gate falls only where noise cannot have done it."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from headrace.bench.client import Answer, Piece
from headrace.bench.gate import Limit, judge, junit, limits_of, read_limits
from headrace.bench.metrics import Attempt
from headrace.bench.scenarios import Outcome
from headrace.bench.summary import Cell, cells
from headrace.errors import ConfigError


def measured(*ttfts: float, passed: int | None = None) -> list[Cell]:
    """A cell of answers with these times to the first token, the first ones right."""
    attempts: list[Attempt] = []
    for index, ttft in enumerate(ttfts):
        pieces = tuple(
            Piece(at_s=index + ttft + 0.1 * i, text="a", tokens=1.0, is_answer=True)
            for i in range(3)
        )
        answer = Answer(
            start_s=index, sent_s=index, ended_s=index + ttft + 0.2, status=200, pieces=pieces
        )
        is_right = passed is None or index < passed
        attempts.append(
            Attempt(
                endpoint="e", scenario="short", task=f"short/{index}", start_s=index,
                end_s=answer.ended_s, answers=(answer,),
                outcome=Outcome.PASSED if is_right else Outcome.WRONG_ANSWER,
            )
        )  # fmt: skip
    return cells(attempts, {})


def spread(middle: float, count: int = 40) -> list[float]:
    return np.random.default_rng(3).normal(middle, 0.03, count).tolist()


def kept(found: list[Cell], **limit: object) -> bool:
    (verdict,) = judge(found, [Limit(scenario="short", **limit)])  # type: ignore[arg-type]
    return verdict.is_kept


def test_a_limit_inside_the_interval_is_kept_and_one_beyond_it_broken() -> None:
    found = measured(*spread(0.2))
    ttft = found[0].ttft["p50"]
    assert ttft is not None
    assert kept(found, metric="ttft_p50_ms", at_most=ttft.value * 1e3 - 0.1)  # noise may do that
    assert kept(found, metric="ttft_p50_ms", at_most=ttft.low * 1e3 + 0.01)
    assert not kept(found, metric="ttft_p50_ms", at_most=ttft.low * 1e3 - 0.01)


def test_floors_are_the_other_way_round() -> None:
    found = measured(*spread(0.2), passed=20)
    assert found[0].passed is not None
    assert kept(found, metric="success", at_least=0.55)
    assert not kept(found, metric="success", at_least=0.95)
    assert kept(found, metric="speed_p50", at_least=9.9)
    assert not kept(found, metric="speed_p50", at_least=10.1)


def test_what_was_not_measured_does_not_pass() -> None:
    found = measured(*spread(0.2))
    assert not kept(found, metric="success", at_least=0.1, stage="80%")
    assert not kept(found, metric="success", at_least=0.1, endpoint="another")
    silent = [replace(found[0], speed={"p50": None})]
    assert not kept(silent, metric="speed_p50", at_least=0.1)


def test_a_baseline_is_a_limit_less_its_tolerance() -> None:
    before = measured(*spread(0.2))
    limits = limits_of(before, 0.1)
    assert all(verdict.is_kept for verdict in judge(before, limits))
    slower = judge(measured(*spread(0.3)), limits)
    assert {v.name for v in slower if not v.is_kept} == {
        "short ttft_p50_ms, e", "short e2e_p50_ms, e",
    }  # fmt: skip
    assert all(verdict.is_kept for verdict in judge(measured(*spread(0.21)), limits))


def test_junit_counts_what_is_broken() -> None:
    limits = [
        Limit(scenario="short", metric="success", at_least=0.5),
        Limit(scenario="short", metric="ttft_p50_ms", at_most=1.0),
    ]
    suite = ElementTree.fromstring(junit(judge(measured(*spread(0.2)), limits)).encode())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    names = [case.get("name") for case in suite if case.find("failure") is not None]
    assert names == ["short ttft_p50_ms, e"]


def test_limits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('[[limits]]\nscenario = "short"\nmetric = "ttft_p50_ms"\nat_most = 5\n')
    assert read_limits(path) == [Limit(scenario="short", metric="ttft_p50_ms", at_most=5)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('metric = "ttft_p50_ms"', "needs at_most or at_least"),
        ('metric = "ttft_p51_ms"\nat_most = 1', "no such metric: 'ttft_p51_ms'"),
        ('metric = "ttft_p50"\nat_most = 1', "no such metric"),
        ('metric = "success"\nat_mots = 1', "at_mots"),
    ],
)
def test_wrong_limits_are_one_sentence(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(f'[[limits]]\nscenario = "short"\n{line}\n')
    with pytest.raises(ConfigError, match=told):
        read_limits(path)
