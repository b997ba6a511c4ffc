"""The console in a real browser: what a person sees and does."""

from collections.abc import Iterator

import pytest

from headrace.accounts import AccountService, Tier
from headrace.errors import BackendError, ContextTooLong
from tests.conftest import Serve
from tests.console.browser import CHROMIUM, DRIVER, Browser, browser
from tests.scripted import CARD, Hold, Pause, ScriptedProvider

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

ENTER = "\ue007"
ESCAPE = "\ue00c"
READY = "!document.querySelector('#prompt').disabled"
MARKUP = [
    "<script>window.violations.push('ran')</script>",
    "<img src=x onerror=\"window.violations.push('ran')\">",
    "<svg onload=window.violations.push('ran')>",
    "[a](javascript:alert(1)) ![b](https://evil.example/pixel.png)",
    "<a href='javascript:alert(1)'>x</a>\n```html\n<b>bold</b>\n```",
]


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as made:
        yield made


def answers(page: Browser) -> list[str]:
    return page.run("[...document.querySelectorAll('.assistant .text')].map((e) => e.textContent)")


def test_a_message_is_answered_token_by_token_and_its_speed_is_shown(serve: Serve, page: Browser):
    hold = Hold()
    provider = ScriptedProvider("Water ", "flows ", hold, "to ", "the ", Pause(), "wheel.")
    page.open(serve(provider) + "/console")
    page.wait_for(READY)
    assert page.text("#welcome-model") == CARD.id
    page.type("#prompt", "What is a headrace?" + ENTER)
    page.wait_for("document.querySelector('.assistant .text')?.textContent === 'Water flows '")
    assert page.text(".turn.user") == "What is a headrace?"
    assert page.run("document.querySelector('#send').hidden")
    hold.release()
    page.wait_for("document.querySelector('.stats strong')")
    assert answers(page) == ["Water flows to the wheel."]
    assert "tokens/s" in page.text(".stats")
    assert "first token" in page.text(".stats")
    assert "5 tokens" in page.text(".stats")
    assert float(page.text("#speed").replace(",", "")) > 0
    assert page.text("#tokens") == "5"
    assert page.violations == []


def test_a_second_message_carries_the_dialogue_and_the_settings(serve: Serve, page: Browser):
    provider = ScriptedProvider("fine")
    page.open(serve(provider) + "/console")
    page.wait_for(READY)
    page.type("#system", "Be brief.")
    page.type("#temperature", "\ue012")  # arrow left
    page.type("#max-tokens", "7")
    page.type("#prompt", "one" + ENTER)
    page.wait_for("document.querySelectorAll('.stats').length === 1")
    page.type("#prompt", "two\ue008" + ENTER + "\ue000" + "lines" + ENTER)
    page.wait_for("document.querySelectorAll('.stats').length === 2")
    request = provider.requests[1]
    assert [m.content for m in request.messages] == ["Be brief.", "one", "fine", "two\nlines"]
    assert request.sampling.temperature == 0.9
    assert request.max_tokens == 7
    page.click("#new-chat")
    assert answers(page) == []
    assert page.violations == []


@pytest.mark.parametrize("way", ["button", "escape"])
def test_stop_ends_the_answer_and_frees_the_request(serve: Serve, page: Browser, way: str):
    provider = ScriptedProvider("partly", Hold())
    page.open(serve(provider) + "/console")
    page.wait_for(READY)
    page.type("#prompt", "go" + ENTER)
    page.wait_for("document.querySelector('.assistant .text')?.textContent === 'partly'")
    if way == "button":
        page.click("#stop")
    else:
        page.type("#prompt", ESCAPE)
    page.wait_for("document.querySelector('.stats')")
    assert "stopped" in page.text(".stats")
    assert not page.run("document.querySelector('#send').hidden")
    assert page.violations == []


def test_a_key_is_asked_for_kept_for_the_tab_and_forgotten(
    serve: Serve, accounts: AccountService, page: Browser
):
    secret = accounts.create(name="tab", tier=Tier.FREE).secret
    page.open(serve(ScriptedProvider("hello"), accounts) + "/console")
    page.wait_for("!document.querySelector('#key-form').hidden")
    page.type("#key", "hr-wrong" + ENTER)
    page.wait_for("document.querySelector('#key-problem').textContent.includes('Incorrect')")
    page.type("#key", secret + ENTER)
    page.wait_for(READY)
    page.run("location.reload()")
    page.wait_for(READY)
    page.type("#prompt", "hi" + ENTER)
    page.wait_for("document.querySelector('.stats')")
    assert answers(page) == ["hello"]
    assert page.run("localStorage.length") == 0
    assert secret not in page.run("document.documentElement.outerHTML")
    page.click("#forget-key")
    page.wait_for("!document.querySelector('#key-form').hidden")
    assert page.run("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("script", "said", "kept"),
    [
        ((ContextTooLong(9, 8),), "Current length is 9 while limit is 8", ""),
        (("half", BackendError("x")), "The server failed on this request.", "half"),
    ],
)
def test_an_error_is_shown_in_words_and_can_be_tried_again(
    serve: Serve, page: Browser, script: tuple[str | Exception, ...], said: str, kept: str
):
    provider = ScriptedProvider(*script)
    page.open(serve(provider) + "/console")
    page.wait_for(READY)
    page.type("#prompt", "go" + ENTER)
    page.wait_for("document.querySelector('.turn .problem')")
    assert said in page.text(".turn .problem")
    assert answers(page) == [kept]
    page.click(".turn .stats button")
    page.wait_for("document.querySelector('.turn .problem')")
    assert [m.content for m in provider.requests[1].messages] == ["go"]


def test_markup_in_answers_stays_text(serve: Serve, page: Browser):
    pieces = [char for text in MARKUP for char in text]
    page.open(serve(ScriptedProvider(*pieces)) + "/console")
    page.wait_for(READY)
    page.type("#prompt", MARKUP[1] + ENTER)
    page.wait_for("document.querySelector('.stats')")
    assert answers(page) == ["".join(MARKUP)]
    assert page.run("document.querySelectorAll('.turn :is(a, img, script, b)').length") == 0
    assert page.violations == []


def test_nothing_is_loaded_from_elsewhere(serve: Serve, page: Browser):
    url = serve(ScriptedProvider("x"))
    for path in ("/console", "/docs"):
        page.open(url + path)
        loaded = page.run("performance.getEntriesByType('resource').map((e) => e.name)")
        assert loaded
        assert all(name.startswith(url) for name in loaded)
        assert page.violations == []


def test_it_fits_a_phone_and_works_by_keyboard(serve: Serve, page: Browser):
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.cdp("Emulation.setDeviceMetricsOverride", **screen)
    try:
        page.open(serve(ScriptedProvider("a long word " + "x" * 200)) + "/console")
        page.wait_for(READY)
        page.type("#prompt", "hi" + ENTER)
        page.wait_for("document.querySelector('.stats')")
        assert page.run("document.documentElement.scrollWidth") <= 390
        page.type("#toggle-panel", ENTER)
        page.wait_for("document.querySelector('#system').offsetParent !== null")
        page.type("#toggle-panel", ENTER)
        page.wait_for("document.querySelector('#prompt').offsetParent !== null")
    finally:
        page.cdp("Emulation.clearDeviceMetricsOverride")


def test_the_watch_sees_the_violations_it_judges(serve: Serve, page: Browser):
    page.open(serve(ScriptedProvider("x")) + "/console")
    page.run(
        "void document.head.append(Object.assign(document.createElement('script'), {text: '1'}))"
    )
    page.wait_for("window.violations.length > 0")
    assert "script-src" in page.violations[0]
