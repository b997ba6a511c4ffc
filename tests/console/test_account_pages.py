"""The console's account pages, from end to end: a server process, its database, a real browser."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.accounts import OPERATOR, AccountService, Role, hash_password
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.metering import Books
from headrace.prove.server import Server
from headrace.store import SqliteStore
from tests.console.visitor import PASSWORD, PHONE, WIDE, Visitor, chromium, needs_chromium, visit

pytestmark = [pytest.mark.full, needs_chromium]

ADMIN = "admin@example.com"
SETTINGS = """
[accounts]
sign_up = "open"

[[prices]]
model = "headrace-mini"
input_micros = 3_000_000
cached_input_micros = 1_000_000
output_micros = 7_000_000
"""
SIGNED_OUT = (
    "/console",
    "/console/models",
    "/console/machines",
    "/console/wafer",
    "/console/sign-in",
    "/console/sign-up",
    "/docs",
)
SIGNED_IN = (
    "/console/status",
    "/console/keys",
    "/console/usage",
    "/console/billing",
    "/console/limits",
    "/console/people",
    "/console/admin",
)


class Site:
    """A running server, its database, a browser."""

    def __init__(self, url: str, home: Path, browser: Any) -> None:
        self.url = url
        self.home = home
        self.browser = browser

    def used_micros(self, organisation: str) -> tuple[int, int]:
        """What the ledger says that an organisation of this name used, and what the records say."""
        with closing(SqliteStore(self.home / "headrace.db", SystemClock())) as store:
            with store.reading() as tx:
                ((organisation_id,),) = tx.execute(
                    "SELECT id FROM organisations WHERE name = ?", (organisation,)
                ).fetchall()
                ((ledger,),) = tx.execute(
                    "SELECT -coalesce(sum(micros), 0) FROM ledger WHERE organisation_id = ?"
                    " AND kind = 'usage'",
                    (organisation_id,),
                ).fetchall()
                rows = tx.execute(
                    "SELECT prompt_tokens, cached_tokens, completion_tokens FROM usage_records"
                    " WHERE organisation_id = ?",
                    (organisation_id,),
                ).fetchall()
            books = Books(store, SystemClock(), lambda: "")
            assert (books.check(), books.unbalanced()) == ([], [])
        # By hand, from SETTINGS: dollars a million are micro-dollars each, nothing is rounded.
        return ledger, sum(3 * (p - c) + c + 7 * o for p, c, o in rows)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = Server(tmp_path_factory.mktemp("site"), SETTINGS, model=None, credit=1)
    with AccountService.open(Config(home=server.home)) as accounts:
        accounts.users.create(
            OPERATOR,
            email=ADMIN,
            name="Ada",
            role=Role.OWNER,
            password_hash=hash_password(PASSWORD),
        )
    with server.serving() as (_, url), chromium() as browser:
        yield Site(url, server.home, browser)


def ask(visitor: Visitor, text: str, answers: int) -> None:
    """Ask in the playground, until so many answers have ended, well or not."""
    visitor.page.fill("#prompt", text)
    visitor.page.press("#prompt", "Enter")
    visitor.page.wait_for_function(
        "n => document.querySelectorAll('.turn .stats').length === n", arg=answers
    )


def have_pay_from_credit(admin: Visitor, organisation: str) -> None:
    row = admin.page.locator("#organisations tr").filter(has_text=organisation)
    row.get_by_role("button", name="Tier").click()
    admin.page.select_option("dialog [name=tier]", "developer")
    admin.page.click("dialog [type=submit]")
    row.get_by_text("developer").wait_for()


def status(site: Site, secret: str) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.get(site.url + "/v1/models", headers=headers).status_code


def test_from_sign_up_to_a_charge_a_refusal_and_a_revoked_key(site: Site) -> None:
    with visit(site.browser, site.url) as nell, visit(site.browser, site.url) as admin:
        nell.sign_up("nell@example.com", "Nell & Co")
        nell.page.get_by_text("No keys yet.").wait_for()

        # Who runs the server has her pay from credit, and gives her some.
        admin.sign_in(ADMIN)
        admin.page.click("text=Administration")
        have_pay_from_credit(admin, "Nell & Co")
        admin.row("Nell & Co").get_by_role("button", name="Credit").click()
        admin.page.fill("dialog [name=amount_micros]", "2.50")
        admin.page.fill("dialog [name=reference]", "invoice 7")
        admin.page.click("dialog [type=submit]")
        admin.row("Nell & Co").get_by_text("$2.50").first.wait_for()
        admin.page.get_by_text("credit.added").first.wait_for()
        there = admin.page.locator("#audit tr").filter(has_text="Nell & Co")
        there.filter(has_text="organization.updated").first.wait_for()
        assert admin.violations == []

        secret = nell.make_key("first app", requests_per_minute="2")
        nell.page.click("text=Try it in the playground")
        nell.page.wait_for_selector("#prompt:enabled")
        ask(nell, "What is a headrace?", 1)
        assert len(nell.page.inner_text(".assistant .text")) > 10

        # What is charged is what the ledger says, by hand too, wherever it is shown.
        nell.go("/console/usage")
        while nell.figure("Requests") != "1":  # use is written down in groups
            nell.page.reload(wait_until="networkidle")
        ledger, by_hand = site.used_micros("Nell & Co")
        assert ledger == by_hand > 0
        shown = f"${ledger / 1e6:.6f}"
        assert nell.figure("Cost") == shown
        assert nell.row("first app").get_by_text(shown).count() == 1
        nell.go("/console/billing")
        assert nell.figure("Credit") == f"${(2_500_000 - ledger) / 1e6:.6f}"
        assert nell.row("first app").get_by_text(shown).count() == 1
        assert nell.row("invoice 7").get_by_text("$2.50").count() == 1

        # The limit fills, and says so: in the playground, and on its page with the reason.
        nell.go("/console")
        nell.page.wait_for_selector("#prompt:enabled")
        ask(nell, "And a tailrace?", 1)
        ask(nell, "And a weir?", 2)
        assert "limit is 2: 2 used, 1 requested" in nell.page.inner_text(".turn .problem")
        nell.go("/console/limits")
        meter = nell.page.get_by_role("meter", name="Requests a minute, headrace-mini")
        assert meter.get_attribute("aria-valuemax") == "2"
        reason = "requests per minute of the key: 2 of 2 used, 1 asked for"
        assert nell.row(reason).count() == 1

        # A revoked key is refused from the next request on.
        assert status(site, secret) == 200
        nell.go("/console/keys")
        nell.page.click("[aria-label='Revoke first app']")
        nell.page.click("dialog .danger")
        nell.page.get_by_text("No keys yet.").wait_for()
        assert status(site, secret) == 401
        nell.go("/console")
        nell.page.wait_for_selector("#key-form:visible")
        assert "Incorrect" in nell.page.inner_text("#key-problem")
        assert nell.violations == []


def test_a_rotated_key_has_a_successor_and_an_end(site: Site) -> None:
    with visit(site.browser, site.url) as visitor:
        visitor.sign_in(ADMIN)
        old = visitor.make_key("rotated")
        visitor.page.click("text=Done")
        visitor.page.click("[aria-label='Rotate rotated']")
        visitor.page.select_option("dialog [name=overlap]", "3600")
        visitor.page.click("dialog [type=submit]")
        new = visitor.page.input_value("dialog input.secret")
        assert new != old
        visitor.page.click("text=Done")
        assert (status(site, old), status(site, new)) == (200, 200)
        assert visitor.row("rotated").count() == 2
        assert visitor.row("in 60 minutes").or_(visitor.row("in 1 hour")).count() == 1
        assert old not in visitor.page.content()
        assert new not in visitor.page.content()


def test_a_key_is_held_to_what_the_form_says_and_told_what_is_wrong(site: Site) -> None:
    with visit(site.browser, site.url) as visitor:
        visitor.sign_in(ADMIN)
        page = visitor.page
        page.click("#new-key")
        page.fill("dialog [name=name]", "narrow")
        page.click("text=What it may be used for")
        page.fill("dialog [name=routes]", "/v1/models")
        page.fill("dialog [name=addresses]", "not a network")
        page.click("dialog [type=submit]")
        page.wait_for_selector("dialog .problem:not(:empty)")
        assert "network" in page.inner_text("dialog .problem")
        page.fill("dialog [name=addresses]", "127.0.0.0/8")
        page.click("text=Limits of its own")
        page.fill("dialog [name=budget_micros]", "five")
        page.click("dialog [type=submit]")
        page.wait_for_selector("dialog [name=budget_micros][aria-invalid]")
        page.fill("dialog [name=budget_micros]", "0.05")
        page.click("dialog [type=submit]")
        secret = page.input_value("dialog input.secret")
        page.click("text=Done")
        row = visitor.row("narrow").inner_text()
        assert all(word in row for word in ("/v1/models", "from 127.0.0.0/8", "$0.05 a month"))
        assert status(site, secret) == 200
        headers = {"authorization": f"Bearer {secret}"}
        got = httpx.post(site.url + "/v1/tokenize", json={}, headers=headers)
        assert got.status_code == 403
        assert visitor.violations == []


def test_who_signs_out_is_out_and_comes_back_where_he_was(site: Site) -> None:
    with visit(site.browser, site.url) as visitor:
        visitor.go("/console/limits")
        visitor.page.wait_for_url("**/console/sign-in?next=*")
        visitor.page.fill("[name=email]", ADMIN)
        visitor.page.fill("[name=password]", "a wrong password")
        visitor.page.press("[name=password]", "Enter")
        visitor.page.wait_for_selector(".problem:not(:empty)")
        visitor.page.fill("[name=password]", PASSWORD)
        visitor.page.press("[name=password]", "Enter")
        visitor.page.wait_for_url("**/console/limits")
        visitor.page.click("#sign-out")
        visitor.page.wait_for_url("**/console/sign-in")
        visitor.go("/console/keys")
        visitor.page.wait_for_url("**/console/sign-in?next=*")


def test_the_way_back_after_signing_in_is_a_page_of_ours(site: Site) -> None:
    for elsewhere in (
        "https://evil.example/console",
        "//evil.example/console",
        "javascript:alert(1)",
    ):
        with visit(site.browser, site.url) as visitor:
            visitor.go(f"/console/sign-in?next={elsewhere}")
            visitor.page.fill("[name=email]", ADMIN)
            visitor.page.fill("[name=password]", PASSWORD)
            visitor.page.click("form [type=submit]")
            visitor.page.wait_for_url(site.url + "/console/keys")


def test_an_owner_elsewhere_sees_no_administration(site: Site) -> None:
    with visit(site.browser, site.url) as visitor:
        visitor.sign_up("other@example.com", "Other")
        visitor.page.get_by_text("No keys yet.").wait_for()
        assert not visitor.page.get_by_role("link", name="Administration").is_visible()
        visitor.go("/console/admin")
        assert not visitor.page.is_visible("#admin")
        assert "administrators" in visitor.page.inner_text("#says")


def test_an_invitation_opens_the_organisation_that_made_it(site: Site) -> None:
    with visit(site.browser, site.url) as admin, visit(site.browser, site.url) as guest:
        admin.sign_in(ADMIN)
        admin.go("/console/people")
        admin.page.click("#invite")
        admin.page.fill("dialog [name=email]", "guest@example.com")
        admin.page.click("dialog [type=submit]")
        link = admin.page.input_value("dialog input.secret")
        guest.page.goto(link)
        guest.page.fill("[name=name]", "Guest")
        guest.page.fill("[name=password]", PASSWORD)
        guest.page.click("form [type=submit]")
        guest.page.wait_for_url("**/console/keys")
        guest.page.wait_for_selector("#who-name:has-text('Guest')")
        assert guest.page.inner_text("#who-organisation") == "Default"
        guest.go("/console/billing")  # a member: prices, and no credit
        assert not guest.page.is_visible("#statement-part")
        assert guest.row("headrace-mini").is_visible()
        assert guest.violations == admin.violations == []


def test_another_password_ends_the_old_one(site: Site) -> None:
    with visit(site.browser, site.url) as visitor, visit(site.browser, site.url) as elsewhere:
        visitor.sign_up("pat@example.com", "Pat")
        elsewhere.sign_in("pat@example.com")
        visitor.go("/console/people")
        visitor.page.click("#password")
        visitor.page.fill("[name=old_password]", "not it, not at all")
        visitor.page.fill("[name=new_password]", PASSWORD + "!")
        visitor.page.click("dialog [type=submit]")
        visitor.page.wait_for_selector("dialog .problem:not(:empty)")
        visitor.page.fill("[name=old_password]", PASSWORD)
        with visitor.page.expect_navigation():
            visitor.page.click("dialog [type=submit]")
        visitor.go("/console/keys")
        assert visitor.page.url == site.url + "/console/keys"
        elsewhere.go("/console/keys")
        elsewhere.page.wait_for_url("**/console/sign-in?next=*")


def test_the_chart_is_walked_by_keyboard_and_is_a_table_too(site: Site) -> None:
    with visit(site.browser, site.url) as visitor:
        visitor.sign_in(ADMIN)
        secret = visitor.make_key("charted")
        body = {"model": "headrace-mini", "prompt": "Water", "max_tokens": 5}
        headers = {"authorization": f"Bearer {secret}"}
        with visit(site.browser, site.url) as admin:  # Default pays from credit, too
            admin.sign_in(ADMIN)
            admin.go("/console/admin")
            have_pay_from_credit(admin, "org_default")
        got = httpx.post(site.url + "/v1/completions", json=body, headers=headers, timeout=60)
        assert got.status_code == 200
        visitor.go("/console/usage")
        while visitor.figure("Requests") == "0":
            visitor.page.reload(wait_until="networkidle")
        visitor.page.locator("#measure").get_by_text("Tokens").click()
        visitor.page.click("text=by key")
        visitor.page.focus(".chart-day[tabindex='0']")
        today = visitor.page.evaluate("document.activeElement.getAttribute('aria-label')")
        used = got.json()["usage"]["total_tokens"]
        assert f": {used}, charted {used}" in today
        assert visitor.page.inner_text(".chart-says").split()[-1] == str(used)
        visitor.page.keyboard.press("ArrowLeft")
        label = visitor.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label.endswith(": 0")
        visitor.page.click("text=The days as a table")
        assert visitor.page.locator("#days tbody tr").count() == 1
        with visitor.page.expect_download() as download:
            visitor.page.click("#export")
        lines = Path(download.value.path()).read_text().splitlines()
        assert len(lines) == 2
        assert visitor.violations == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_pages_fit_and_axe_finds_nothing_serious(
    site: Site, size: tuple[int, int], scheme: str
) -> None:
    found: list[str] = []
    with visit(site.browser, site.url, size, scheme) as visitor:
        for path in SIGNED_OUT:
            visitor.go(path)
            found += judged(visitor, path)
        visitor.sign_in(ADMIN)
        for path in SIGNED_IN:
            visitor.go(path)
            found += judged(visitor, path)
        visitor.go("/console/keys")
        visitor.page.click("#new-key")
        for summary in visitor.page.locator("dialog summary").all():
            summary.click()
        found += judged(visitor, "the form of a key")
    assert found == []


def judged(visitor: Visitor, path: str) -> list[str]:
    """What is wrong with the page, each with its address."""
    found = visitor.accessibility_problems() + visitor.violations
    width = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"{path}: {each}" for each in found] + (
        [f"{path}: {width} too wide"] if width > 0 else []
    )


def test_the_menu_of_a_phone_works_by_keyboard(site: Site) -> None:
    with visit(site.browser, site.url, PHONE) as visitor:
        visitor.sign_in(ADMIN)
        visitor.page.focus("#shell-menu")
        visitor.page.keyboard.press("Enter")
        assert visitor.page.is_visible("nav >> text=Usage")
        visitor.page.keyboard.press("Escape")
        assert not visitor.page.is_visible("nav >> text=Usage")
        assert visitor.page.evaluate("document.activeElement.id") == "shell-menu"
        visitor.page.keyboard.press("Enter")
        visitor.page.keyboard.press("Tab")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_url(site.url + "/console")
