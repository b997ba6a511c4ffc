"""Models, status and machines in a real browser: figures as the server has them, text as text."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest

from headrace.accounts import AccountService, Role, Tier
from headrace.api.machine_runs import machine_routes
from headrace.config import Config, PriceConfig
from headrace.engine.messages import Stats
from headrace.errors import EngineDied
from headrace.gateway.local import LocalModel
from headrace.gateway.machines import Ending, Machine, Machines, Piece
from tests.api.managed import World
from tests.conftest import Serve
from tests.console.browser import CHROMIUM, DRIVER, Browser, browser
from tests.console.test_browser import ENTER, MARKUP
from tests.scripted import CARD, ScriptedProvider

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
SHOWN = "document.querySelector('.table')"
STATS = Stats(running=3, waiting=2, free_blocks=25, total_blocks=100, output_tokens=500)


class ScriptedMachines(Machines):
    """Machines that say their lines."""

    def __init__(self, script: Mapping[str, tuple[Piece | Ending | Exception, ...]]) -> None:
        self.models = {CARD.id: cast("LocalModel", None)}
        self._script = script
        self.asked: list[tuple[str, str, str, int]] = []

    def found_for(self, model: str) -> tuple[Machine, ...]:
        return (
            Machine(name="cpu", is_here=True, serves=True, says=f"serves {MARKUP[1]}"),
            Machine(name="wafer", is_here=True, is_simulated=True, says="simulated"),
            Machine(name="cuda", is_here=False, says="pip install 'headrace[cuda]'"),
            Machine(name="endpoint", is_here="endpoint" in self._script, says="http://x"),
        )

    async def run(
        self, model: str, machine: str, text: str, max_tokens: int
    ) -> AsyncGenerator[Piece | Ending, None]:
        self.asked.append((model, machine, text, max_tokens))
        for step in self._script[machine]:
            await asyncio.sleep(0)
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as made:
        yield made


def ask(url: str, **headers: str) -> None:
    body = {"model": CARD.id, "messages": [{"role": "user", "content": "hi"}]}
    httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers).raise_for_status()


def row(page: Browser, number: int = 1) -> list[str]:
    cells = f"document.querySelectorAll('.table tbody tr:nth-child({number}) > *')"
    return page.run(f"[...{cells}].map((cell) => cell.innerText)")


def test_models_show_context_price_and_the_speed_measured_here(
    serve: Serve, accounts: AccountService, page: Browser, tmp_path: Path
) -> None:
    prices = (PriceConfig(model=CARD.id, input_micros=300_000, output_micros=900_000),)
    secret = accounts.create(name="k", tier=Tier.FREE).secret
    url = serve(
        ScriptedProvider("a", "b", "c", aliases=("other",)),
        accounts,
        Config(home=tmp_path, prices=prices),
    )
    page.open(f"{url}/console/models")
    page.wait_for("document.querySelector('.door-form')")
    page.type(".door-form input", "hr-wrong" + ENTER)
    page.wait_for("document.querySelector('.door-form .problem').textContent.includes('ncorrect')")
    page.run("void (document.querySelector('.door-form input').value = '')")
    page.type(".door-form input", secret + ENTER)
    page.wait_for(SHOWN)
    assert page.run("document.querySelector('.door-form')") is None
    assert "not yet measured" in row(page)[5]
    ask(url, authorization=f"Bearer {secret}")
    page.open(f"{url}/console/models")
    page.wait_for(SHOWN)
    name, context, cost_in, cached, cost_out, speed, wait, _ = row(page)
    assert name.startswith(CARD.id)
    assert (context, cost_in, cached, cost_out) == ("4,096", "$0.3", "$0.3", "$0.9")
    assert 475 <= float(speed.split()[0]) <= 525, "two gaps in 4 ms"
    assert "ms" in wait
    assert "another name of" in row(page, 2)[0]
    page.click(".table tbody tr:nth-child(2) .actions a")
    page.wait_for("document.querySelector('#model')?.value === 'other'")
    assert page.violations == []


def test_a_session_sees_models_and_status_without_a_key(
    serve: Serve, accounts: AccountService, page: Browser, tmp_path: Path
) -> None:
    world = World(accounts)
    url = serve(ScriptedProvider("x"), accounts, Config(home=tmp_path))
    page.open(f"{url}/console/models")
    page.run("sessionStorage.clear()")
    name, _, value = world.session(Role.VIEWER)["cookie"].partition("=")
    page.cdp("Network.setCookie", name=name, value=value, url=url)
    try:
        for path in ("models", "status"):
            page.open(f"{url}/console/{path}")
            page.wait_for(SHOWN)
            assert row(page)[0].startswith(CARD.id)
            assert page.violations == []
    finally:
        page.cdp("Network.clearBrowserCookies")


def test_status_shows_what_runs_and_the_month(serve: Serve, page: Browser) -> None:
    url = serve(ScriptedProvider("a", "b", "c"), read_stats=lambda: {CARD.id: STATS})
    ask(url)
    page.open(f"{url}/console/status")
    page.wait_for(SHOWN)
    assert page.text("#state") == "Requests are taken."
    now = page.text(".now")
    for said in ("3 streams", "75 %", "Waiting"):
        assert said in now
    assert row(page)[1:3] == ["1", "0"]
    assert "1" in page.text("#promises")
    assert "100 %" in page.text("#promises")
    assert page.violations == []


def test_a_server_that_went_away_is_said_so(serve: Serve, page: Browser) -> None:
    url = serve(ScriptedProvider("x"))
    page.open(f"{url}/console/status")
    page.wait_for(SHOWN)
    page.run("void (window.fetch = () => Promise.reject(new TypeError('no')))")
    page.wait_for("document.querySelector('#state').textContent.includes('not answer')")


def test_names_with_markup_stay_text_on_every_page(serve: Serve, page: Browser) -> None:
    card = replace(CARD, id=MARKUP[1], description=MARKUP[2])
    url = serve(ScriptedProvider("x", card=card))
    for path in ("models", "status"):
        page.open(f"{url}/console/{path}")
        page.wait_for(SHOWN)
        assert MARKUP[1] in row(page)[0]
        assert page.run("document.querySelectorAll('main :is(img, script)').length") == 0
        assert page.violations == []


PIECES = (
    Piece(ids=(1, 2), texts=("The ", MARKUP[0]), at_s=0.0),
    Piece(ids=(3,), texts=(" end",), at_s=0.001),
)
CPU = Ending(tokens=3, prompt_s=0.002, token_s=0.0005, phases=(("attention", 0.0004),))
WAFER = Ending(tokens=3, token_s=0.00003, phases=(("attention", 0.00002),))


def machines_at(serve: Serve, machines: ScriptedMachines, tmp_path: Path) -> str:
    routes = machine_routes(machines, None, Config(home=tmp_path))
    return serve(ScriptedProvider(), more=routes) + "/console/machines"


def go(page: Browser, url: str) -> None:
    page.open(url)
    page.wait_for("!document.querySelector('#ask').hidden")
    page.click("#run")
    page.wait_for("document.querySelector('#verdict').textContent")


def said(page: Browser) -> list[str]:
    return page.run("[...document.querySelectorAll('.said')].map((e) => e.textContent)")


def marks(page: Browser) -> list[list[str]]:
    return page.run(
        "[...document.querySelectorAll('.said')]"
        ".map((e) => [...e.children].map((span) => span.className))"
    )


def test_machines_answer_side_by_side_and_same_tokens_are_marked(
    serve: Serve, page: Browser, tmp_path: Path
) -> None:
    machines = ScriptedMachines({"cpu": (*PIECES, CPU), "wafer": (*PIECES, WAFER)})
    go(page, machines_at(serve, machines, tmp_path))
    assert said(page) == ["The " + MARKUP[0] + " end"] * 2
    assert marks(page) == [["same"] * 3] * 2
    assert page.text("#verdict") == "The same 3 tokens on CPU, Wafer."
    assert [asked[1:] for asked in machines.asked] == [
        ("cpu", "What is a KV cache?", 32),
        ("wafer", "What is a KV cache?", 32),
    ]
    figures = page.run("[...document.querySelectorAll('.machine .figure')].map((e) => e.innerText)")
    assert [text.split() for text in figures] == [
        ["500", "µs", "a", "token"],
        ["30", "µs", "a", "token,", "simulated"],
    ]
    assert "headrace[cuda]" in page.text(".machine.absent")
    page.click("#slow")
    page.wait_for("document.querySelector('.said span[hidden]')")
    assert page.violations == []


def test_other_tokens_are_marked_and_a_failure_stands_in_its_place(
    serve: Serve, page: Browser, tmp_path: Path
) -> None:
    other = (Piece(ids=(1, 9), texts=("The ", "river"), at_s=0.0), WAFER)
    text = (Piece(ids=(), texts=("The ",), at_s=0.0), EngineDied("gone"))
    machines = ScriptedMachines({"cpu": (*PIECES, CPU), "wafer": other, "endpoint": text})
    go(page, machines_at(serve, machines, tmp_path))
    assert marks(page)[1] == ["same", "other"]
    assert "see Wafer" in page.text("#verdict")
    assert page.run("document.querySelectorAll('.machine .problem').length") == 1
    assert page.violations == []


def test_text_without_ids_is_compared_as_text(serve: Serve, page: Browser, tmp_path: Path) -> None:
    pieces = [
        Piece(ids=(), texts=(text,), at_s=0.0) for text in ("The ", MARKUP[0] + " e", "nd", "!")
    ]
    ending = Ending(tokens=4, prompt_s=0.1, token_s=0.01)
    machines = ScriptedMachines(
        {"cpu": (*PIECES, CPU), "wafer": (*PIECES, WAFER), "endpoint": (*pieces, ending)}
    )
    go(page, machines_at(serve, machines, tmp_path))
    assert marks(page)[2] == ["same", "same", "same", "other"]
    assert "compared by text" in page.text(".machine:last-child")


def test_they_fit_a_phone(serve: Serve, page: Browser, tmp_path: Path) -> None:
    machines = ScriptedMachines({"cpu": (*PIECES, CPU), "wafer": (*PIECES, WAFER)})
    url = machines_at(serve, machines, tmp_path)
    page.cdp("Emulation.setDeviceMetricsOverride", **PHONE)
    try:
        go(page, url)
        assert page.run("document.documentElement.scrollWidth") <= 390
        for path in ("models", "status"):
            page.open(url.replace("machines", path))
            page.wait_for(SHOWN)
            assert page.run("document.documentElement.scrollWidth") <= 390
    finally:
        page.cdp("Emulation.clearDeviceMetricsOverride")
