"""The report in a real browser, from a file, at two widths."""

from pathlib import Path

import pytest

from headrace.bench.report import page
from headrace.bench.report.lines import Report
from tests.console.browser import CHROMIUM, DRIVER, browser

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.mark.parametrize("width", [1280, 420])
def test_every_picture_has_its_place(width: int, report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(report))
    with browser(width, 900) as made:
        made.open(path.as_uri())
        assert made.violations == []
        pictures = "[...document.querySelectorAll('svg')].map((e) => e.getBoundingClientRect())"
        sizes = made.run(f"{pictures}.map((r) => [r.left, r.right, r.height])")
        inside = made.run("document.documentElement.clientWidth")
        assert len(sizes) >= 9
        assert all(left >= 0 and right <= inside and height > 100 for left, right, height in sizes)
        assert made.run("document.documentElement.scrollWidth") <= inside
        # No label of an axis lies over another of the same axis.
        overlaps = made.run(
            "[...document.querySelectorAll('svg')].flatMap((svg) => {"
            "const boxes = [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect());"
            "return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>"
            "a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1"
            " && b.top < a.bottom - 1)); }).length"
        )
        assert overlaps == 0
        assert made.run("performance.getEntriesByType('resource').length") == 0
