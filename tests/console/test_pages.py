"""The console's files, as they are served."""

import re

import pytest

from headrace.api import build_app
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.console import pages
from headrace.console.pages import PAGES, Page
from tests.api.exchange import Exchange, call
from tests.scripted import ScriptedProvider

PATHS = [route.path for route in pages()]  # type: ignore[attr-defined]


def get(path: str) -> Exchange:
    from pathlib import Path

    config = Config(home=Path("/nonexistent"))
    app = build_app(ScriptedProvider(), None, config, ManualClock(), pages=pages())
    return call(app, "GET", path)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_under_a_strict_policy(path: str):
    got = get(path)
    assert got.status == 200
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), "/console/"])
def test_pages_hold_no_inline_script_and_no_foreign_address(path: str):
    html = get(path).body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\son\w+=|\sstyle=|<style", html)
    for address in re.findall(r"""(?:src|href)="([^"]+)""", html):
        assert address.startswith(("/", "#")), address
        if address.startswith("/"):
            assert get(address).status == 200, address


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_page_leads_to_the_others_and_says_where_it_is(page: Page):
    html = get(page.path).body.decode()
    links = re.findall(r'<a href="([^"]+)"( aria-current="page")?>', html.partition("</nav>")[0])
    assert [path for path, _ in links] == [other.path for other in PAGES if other.group]
    assert [path for path, is_here in links if is_here] == [page.path] * bool(page.group)
    assert "<!--" not in html
    assert 'src="/console/shell.js"' in html


def test_scripts_import_only_what_is_served_and_write_no_markup():
    for path in PATHS:
        if not path.endswith(".js"):
            continue
        code = get(path).body.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)
        for name in re.findall(r'from "\./([^"]+)"', code):
            assert f"/console/{name}" in PATHS


@pytest.mark.parametrize(
    "path",
    ["/console/../pages.py", "/console/%2e%2e/pages.py", "/console/nothing", "/console/app.js/x"],
)
def test_an_address_that_is_no_file_of_ours_is_a_404(path: str):
    assert get(path).status == 404
