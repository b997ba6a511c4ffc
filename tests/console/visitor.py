"""Somebody at the console: a page of a headless Chromium, driven by Playwright."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.console.browser import CHROMIUM

REASON = "make test-full installs it"
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")

WIDE, PHONE = (1280, 900), (390, 844)
WAIT_MS = 30_000
PASSWORD = "correct horse battery"

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective));
"""
_SERIOUS = ("serious", "critical")


class Visitor:
    """One browser profile with one page: cookies and storage of his own."""

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.problems: list[str] = []  # uncaught errors and dialogs: there should be none
        self._context = context
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(_WATCH)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", self._refuse)

    def _refuse(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def go(self, path: str) -> None:
        """To a page of the console, until it asks for nothing more."""
        self.page.goto(self.url + path, wait_until="networkidle")

    def sign_in(self, email: str) -> None:
        self.go("/console/sign-in")
        self.page.fill("[name=email]", email)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("form [type=submit]")
        self.page.wait_for_url("**/console/keys")

    def sign_up(self, email: str, name: str) -> None:
        self.go("/console/sign-up")
        self.page.fill("[name=email]", email)
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("form [type=submit]")
        self.page.wait_for_url("**/console/keys")

    def make_key(self, name: str, **limits: str) -> str:
        """Make a key on the page of keys; its secret, from the dialog that is open then."""
        self.page.click("#new-key")
        self.page.fill("dialog [name=name]", name)
        if limits:
            self.page.click("text=Limits of its own")
        for field, value in limits.items():
            self.page.fill(f"dialog [name={field}]", value)
        self.page.click("dialog [type=submit]")
        return self.page.input_value("dialog input.secret")

    def row(self, text: str) -> Any:
        """The row of a table that holds this text."""
        return self.page.get_by_role("row").filter(has_text=text)

    def figure(self, name: str) -> str:
        """What a tile of this name says."""
        tile = self.page.locator("#totals > div").filter(has_text=re.compile(f"^{name}"))
        return tile.locator("dd").first.inner_text()

    @property
    def violations(self) -> list[str]:
        """Whatever the content policy refused on this page, and the errors of all."""
        return [*self.page.evaluate("window.violations"), *self.problems]

    def accessibility_problems(self) -> list[str]:
        """What axe finds serious or critical on this page, with the elements it means."""
        axe = pytest.importorskip("axe_playwright_python.base", reason=REASON)
        self.page.evaluate(axe.AXE_SCRIPT)
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{rule['id']} ({rule['impact']}): {[node['html'][:120] for node in rule['nodes']][:4]}"
            for rule in found["violations"]
            if rule["impact"] in _SERIOUS
        ]


@contextmanager
def chromium() -> Generator[Any, None, None]:
    """A browser for as long as the block runs."""
    api = pytest.importorskip("playwright.sync_api", reason=REASON)
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield made
        finally:
            made.close()


@contextmanager
def visit(
    browser: Any, url: str, size: tuple[int, int] = WIDE, scheme: str = "light"
) -> Generator[Visitor, None, None]:
    """A visitor of a server, with a screen of this size, who likes it light or dark."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
    )
    try:
        yield Visitor(context, url)
    finally:
        context.close()
