"""The wafer page in a real browser: a token is played, stopped, and followed step by step."""

from collections.abc import Iterator

import pytest

from headrace.accounts import AccountService, Tier
from tests.conftest import Serve
from tests.console.browser import CHROMIUM, DRIVER, Browser, browser
from tests.scripted import CARD, ScriptedProvider

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

SHOWN = "!document.querySelector('#stage').hidden"
PIXELS = """(() => {
      const canvas = document.querySelector('#canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return data.reduce((sum, value, i) => (sum * 31 + value * (i % 97)) % 1000003, 7);
    })()"""


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as made:
        yield made


def still(page: Browser) -> None:
    """Nothing plays by itself."""
    feature = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.cdp("Emulation.setEmulatedMedia", features=[feature])


def test_a_token_is_followed_step_by_step(serve: Serve, page: Browser) -> None:
    still(page)
    page.open(serve(ScriptedProvider()) + "/console/wafer")
    page.wait_for(SHOWN)
    assert page.run("document.querySelector('#model').value") == CARD.id
    assert page.text("#now-name") == "Go on: hand-over", "what was drawn last comes back"
    assert page.text("#cycle") == "0"
    before = page.run(PIXELS)
    for name in ("Spread: embedding", "Go on: hand-over", "Sum: norm"):
        page.click("#on")
        assert page.text("#now-name") == name
    assert page.run(PIXELS) != before, "the picture follows"
    cycle = int(page.text("#cycle").replace(",", ""))
    assert cycle > 0
    page.click("#back")
    assert 0 < int(page.text("#cycle").replace(",", "")) < cycle
    spent = [
        int(row.split("·")[0].replace(",", ""))
        for row in page.run("[...document.querySelectorAll('.bar-row')].map((r) => r.innerText)")
        for row in [row.splitlines()[-1]]
    ]
    assert sum(spent) == pytest.approx(int(page.text("#cycle").replace(",", "")), abs=3)
    assert "times as fast" in page.text("#moral")
    assert page.violations == []


def test_it_plays_to_the_end_and_stops(serve: Serve, page: Browser) -> None:
    still(page)
    page.open(serve(ScriptedProvider()) + "/console/wafer")
    page.wait_for(SHOWN)
    page.run(
        "(() => { const speed = document.querySelector('#speed'); speed.value = 100;"
        " speed.dispatchEvent(new Event('input')); })()"
    )
    page.click("#play")
    page.wait_for("document.querySelector('#play').textContent === 'Pause'")
    page.wait_for("document.querySelector('#play').textContent === 'Play'")
    assert page.run("document.querySelector('#at').value") == "1000"
    assert page.text("#now-name") == "Sum: likeliest"
    assert page.violations == []


def test_another_mesh_is_another_picture(serve: Serve, page: Browser) -> None:
    still(page)
    page.open(serve(ScriptedProvider()) + "/console/wafer")
    page.wait_for(SHOWN)
    rate = page.text("#rate")
    page.run(
        "(() => { const mesh = document.querySelector('#mesh'); mesh.value = '32x32';"
        " mesh.dispatchEvent(new Event('change')); })()"
    )
    page.wait_for(f"document.querySelector('#rate').textContent !== {rate!r}")
    assert page.violations == []


def test_it_asks_for_a_key_and_goes_on_with_one(
    serve: Serve, page: Browser, accounts: AccountService
) -> None:
    still(page)
    page.open(serve(ScriptedProvider(), accounts) + "/console/wafer")
    page.wait_for("!document.querySelector('#key-form').hidden")
    assert page.run("document.querySelector('#stage').hidden")
    page.type("#key", accounts.create(name="k", tier=Tier.FREE).secret + "\ue007")
    page.wait_for(SHOWN)
    assert page.violations == []
