"""Names of people, organisations, projects, keys and models, prompts and answers: text, everywhere.

Each says, were it run: `window.ran`. Nothing does.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import OPERATOR, AccountService, Role, hash_password
from headrace.clock import SystemClock
from headrace.config import AccountsConfig, Config, PriceConfig, SignUp
from headrace.metering import Meter, PriceList
from headrace.store import SqliteStore
from tests.conftest import Serve
from tests.console.visitor import PASSWORD, Visitor, chromium, needs_chromium, visit
from tests.scripted import CARD, ScriptedProvider

pytestmark = [pytest.mark.full, needs_chromium]

# Of 64 characters at most, which a name has.
PAYLOADS = [
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "<svg onload=window.ran=1>",
    "\"><iframe srcdoc='<script>parent.ran=1</script>'>",
    "'\"--></style></script><script>window.ran=1</script>",
    "javascript:window.ran=1",
    "<a href=javascript:window.ran=1 autofocus onfocus=window.ran=1>",
    "{{constructor.constructor('window.ran=1')()}}${window.ran=1}",
    "<details open ontoggle=window.ran=1>",
]
PAGES = ("keys", "usage", "billing", "limits", "people", "admin")
ADMIN = "admin@example.com"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def nothing_ran(visitor: Visitor) -> None:
    assert visitor.page.evaluate("window.ran") is None
    assert visitor.violations == []
    # Not one element that the page's own files did not make.
    strange = visitor.page.locator(
        "iframe, img, main script, [onload], [onerror], [onfocus], [ontoggle], [href^=javascript]"
    )
    assert strange.count() == 0


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_people_write_stays_text(
    serve: Serve, tmp_path: Path, browser: Any, payload: str
) -> None:
    config = Config(home=tmp_path, accounts=AccountsConfig(sign_up=SignUp.OPEN))
    card = replace(CARD, id=payload)
    provider = ScriptedProvider(payload, card=card)
    prices = PriceList([PriceConfig(model=payload, input_micros=1, output_micros=1)])
    with AccountService.open(config) as accounts:
        accounts.users.create(
            OPERATOR,
            email=ADMIN,
            name=payload,
            role=Role.OWNER,
            password_hash=hash_password(PASSWORD),
        )
        project = accounts.projects.create(OPERATOR, payload)
        store = SqliteStore(tmp_path / "headrace.db", SystemClock())
        meter = Meter.open(tmp_path, store, SystemClock(), config.metering, prices=prices)
        config = replace(config, prices=(PriceConfig(model=payload, input_micros=1),))
        url = serve(provider, accounts, config, meter=meter)
        with visit(browser, url) as other, visit(browser, url) as admin:
            other.sign_up("other@example.com", payload)
            other.page.wait_for_selector("#who:visible")
            assert other.page.inner_text("#who-organisation") == payload
            nothing_ran(other)

            admin.sign_in(ADMIN)
            option = admin.page.locator(f"#project option[value={project.id}]")
            assert option.text_content() == payload
            admin.make_key(payload)
            assert admin.page.inner_text("dialog[open] h2") == payload
            admin.page.click("text=Try it in the playground")
            admin.page.wait_for_selector("#prompt:enabled")
            admin.page.fill("#prompt", payload)
            admin.page.press("#prompt", "Enter")
            admin.page.wait_for_selector(".turn .stats")
            assert admin.page.inner_text(".turn.user") == payload
            assert admin.page.text_content(".assistant .text") == payload
            nothing_ran(admin)
            for name in PAGES:
                admin.go(f"/console/{name}")
                shown = admin.page.locator("main").get_by_text(payload).locator("visible=true")
                shown.first.wait_for()
                nothing_ran(admin)
        store.close()
