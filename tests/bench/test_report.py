"""The report: what was written is read again, and the page needs nothing from elsewhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.bench.comparison import Comparison
from headrace.bench.prices import read_prices, spent
from headrace.bench.report import page, read_lines, write_lines
from headrace.bench.report.lines import Report
from headrace.bench.report.plots import Axis, Series, lines
from headrace.bench.report.tables import verdict
from headrace.bench.statistics import Difference
from headrace.errors import ConfigError
from tests.bench.conftest import PRICE
from tests.bench.virtual import answered


def test_lines_read_again_are_the_same_report(report: Report, tmp_path: Path) -> None:
    write_lines(report, tmp_path / "run.jsonl")
    again = read_lines(tmp_path / "run.jsonl")
    assert again.attempts == list(report.attempts)
    assert again.facts == report.facts
    assert page(again) == page(report)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"type":"cell","value":{}}', '{"type":"run","value":{"format":9}}', "no"]
)
def test_what_is_no_run_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.jsonl"):
        read_lines(path)


class _Page(HTMLParser):
    """Whether each element is closed, and what is loaded."""

    EMPTY = ("meta", "line")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [v for k, v in attrs if k in ("src", "href", "action") and v]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> _Page:
    found = _Page()
    found.feed(html)
    found.close()
    return found


def test_the_page_is_whole_and_loads_nothing(report: Report) -> None:
    html = page(report)
    found = parsed(html)
    assert found.open == []
    assert found.loaded == []
    assert "script" not in found.tags
    assert not re.search(r"url\(|@import|https?://", html)
    assert "quick <b>" in "".join(found.text)  # a name is text, whatever it holds
    assert found.tags.count("b") == html.count("<b>")


def test_the_page_shows_every_table_and_picture(report: Report) -> None:
    html = page(report)
    for title in (
        "The race", "Scenarios", "Structured output, errors", "Under load", "In pairs",
        "Latency against throughput", "Gaps", "Time line", "Beside what is published",
        "Short question: TTFT", "JSON tool call: speed",
    ):  # fmt: skip
        assert f">{title}</h" in html, title
    assert "All of these" in html  # the totals' row
    assert "a note &amp; more" in html
    assert "Not valid, because the client itself was late or busy: race" in html
    assert "published elsewhere, third-party" in html
    assert "a test" in html


@pytest.mark.parametrize(
    ("low", "high", "pairs", "told"),
    [
        (0.1, 0.2, 9, "a is better"),
        (-0.2, -0.1, 9, "b is better"),
        (-0.1, 0.1, 9, "no difference shown"),
        (0.1, 0.2, 5, "too few pairs to tell"),
    ],
)
def test_a_difference_of_times_says_who_is_better(
    low: float, high: float, pairs: int, told: str
) -> None:
    found = Difference(value=(low + high) / 2, low=low, high=high, pairs=pairs)
    compared = Comparison(
        scenario="short", first="a", second="b", metric="TTFT, s", difference=found
    )
    assert verdict(compared) == told


def test_a_cost_of_a_success_is_the_price_of_all_tokens(report: Report) -> None:
    cell = next(c for c in report.cells if (c.scenario, c.endpoint) == ("agent", "slow"))
    assert cell.passed is not None
    assert cell.passed.value == 1.0
    wanted = (cell.prompt_tokens * 1.0 + cell.output_tokens * 4.0) / cell.tasks
    assert cell.micro_per_success == pytest.approx(wanted)
    assert f"{wanted / 1e6:.6f} EUR" in page(report)


def test_points_lie_where_their_values_say() -> None:
    svg = lines(
        "told",
        Axis(label="x", low=0.0, high=10.0),
        Axis(label="y", is_log=True, low=1.1, high=1_000 / 1.1),
        [Series(name="s", colour=0, points=[(0, 1), (5, 31.6228), (10, 1_000)], has_dots=True)],
    )
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]
    (x0, y0), (x1, y1), (x2, y2) = dots
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert x0 < x2
    assert y0 > y2  # downwards in SVG
    assert ">10</text>" in svg
    assert ">100</text>" in svg


def test_prices_are_read_with_their_date(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[models.m]\ninput = 1.0\noutput = 4.0\ncurrency = "EUR"\ndate = 2026-11-01\n'
        'source = "a test"\n'
    )
    assert read_prices(path) == {"m": PRICE}
    path.write_text("[models.m]\ninput = 1.0\n")
    with pytest.raises(ConfigError, match=r"prices\.toml.*output"):
        read_prices(path)


def test_cached_tokens_cost_what_the_table_says() -> None:
    answer: Any = replace(answered("a"), prompt_tokens=100, cached_tokens=40, output_tokens=10.0)
    assert spent((answer,), PRICE).micro == pytest.approx(100 + 40)
    cheaper = msgspec.structs.replace(PRICE, cached_input=0.5)
    assert spent((answer,), cheaper).micro == pytest.approx(60 + 20 + 40)
