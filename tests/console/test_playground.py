"""The playground in a real browser: two models, tools, forms, reasoning, money, code."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.accounts import AccountService, Tier
from headrace.config import Config, PriceConfig
from headrace.metering import PriceList
from headrace.types import CallPiece, FinishReason, JsonFormat, TokenEvent, ToolUse, Usage
from tests.conftest import Serve
from tests.console.browser import CHROMIUM, DRIVER, Browser, browser
from tests.console.test_browser import ENTER, MARKUP, READY, answers
from tests.scripted import CARD, Hold, ScriptedProvider

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

ENDED = "document.querySelectorAll('.stats').length === {}"


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as made:
        yield made


def put(page: Browser, css: str, value: str) -> None:
    """Write into a control as a person does."""
    page.run(
        f"(() => {{ const it = document.querySelector({css!r}); it.value = {json.dumps(value)};"
        " it.dispatchEvent(new Event('input', {bubbles: true}));"
        " it.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def call(index: int, **piece: str) -> TokenEvent:
    return TokenEvent(text="", token_ids=(1,), calls=(CallPiece(index=index, **piece),))


def open_at(page: Browser, url: str) -> None:
    page.open(url + "/console")
    page.wait_for(READY)


def test_two_models_get_the_same_prompt_and_are_compared(serve: Serve, page: Browser) -> None:
    provider = ScriptedProvider("same ", "words", aliases=("other",))
    open_at(page, serve(provider))
    page.type("#prompt", "first" + ENTER)
    page.wait_for(ENDED.format(1))
    page.click("#compare")
    assert page.run("document.querySelector('#other-model').value") == "other"
    page.type("#prompt", "again" + ENTER)
    page.wait_for("document.querySelector('.verdict')")
    assert "the answers are the same" in page.text(".verdict")
    assert answers(page) == ["same words"] * 3
    names = page.run("[...document.querySelectorAll('.answerer')].map((e) => e.textContent)")
    assert names == [CARD.id, "other"]
    asked = provider.requests[1:]
    assert {request.model for request in asked} == {CARD.id, "other"}
    for request in asked:
        assert [m.content for m in request.messages] == ["first", "same words", "again"]
    assert page.run("document.querySelectorAll('.speed').length") == 2
    page.click("#compare")
    assert page.run("document.querySelectorAll('.speed').length") == 1
    assert page.violations == []


def test_two_streams_run_side_by_side(serve: Serve, page: Browser) -> None:
    hold = Hold()
    provider = ScriptedProvider("begun", hold, " ended", aliases=("other",))
    open_at(page, serve(provider))
    page.click("#compare")
    page.type("#prompt", "go" + ENTER)
    page.wait_for(
        "[...document.querySelectorAll('.text')].filter((e) => e.textContent === 'begun').length"
        " === 2"
    )
    assert provider.running == 2
    page.click("#stop")
    page.wait_for(ENDED.format(2))
    assert page.run("document.body.innerText.match(/stopped/g).length") == 2
    assert page.violations == []


def test_settings_tools_and_schema_are_sent(serve: Serve, page: Browser) -> None:
    provider = ScriptedProvider("{}")
    open_at(page, serve(provider))
    for css, value in {
        "#top-p": "0.5",
        "#seed": "-7",
        "#stop-at": "END\n\n",
        "#frequency-penalty": "0.5",
        "#form": "json_schema",
    }.items():
        put(page, css, value)
    page.click("#schema-example")
    page.click("#tools-example")
    put(page, "#tool-choice", "none")
    page.type("#prompt", "go" + ENTER)
    page.wait_for(ENDED.format(1))
    (request,) = provider.requests
    assert request.sampling.top_p == 0.5
    assert request.sampling.seed == -7
    assert request.sampling.frequency_penalty == 0.5
    assert request.sampling.temperature is None
    assert request.stop == ("END",)
    assert request.toolbox is not None
    assert [tool.name for tool in request.toolbox.tools] == ["river_level"]
    assert request.toolbox.use is ToolUse.NONE
    assert isinstance(request.format, JsonFormat)
    assert request.format.schema["required"] == ["term", "meaning"]
    assert page.violations == []


def test_a_setting_that_is_no_json_is_said_in_words_and_nothing_is_sent(
    serve: Serve, page: Browser
) -> None:
    provider = ScriptedProvider("x")
    open_at(page, serve(provider))
    put(page, "#tools", '[{"name": "f"')
    assert page.text("#settings-problem").startswith("Tools: ")
    page.type("#prompt", "go" + ENTER)
    assert page.run("document.querySelector('#prompt').value") == "go"
    put(page, "#tools", "")
    page.type("#prompt", ENTER)
    page.wait_for(ENDED.format(1))
    assert len(provider.requests) == 1


def test_reasoning_stands_apart_and_closes_when_the_answer_begins(
    serve: Serve, page: Browser
) -> None:
    hold = Hold()
    thoughts = [TokenEvent(text="", reasoning=text, token_ids=(1,)) for text in MARKUP]
    provider = ScriptedProvider(*thoughts, hold, "Done", card=replace(CARD, thinks=True))
    open_at(page, serve(provider))
    assert not page.run("document.querySelector('#effort-row').hidden")
    put(page, "#effort", "low")
    page.type("#prompt", "go" + ENTER)
    page.wait_for("document.querySelector('.thought-text')?.textContent.length > 20")
    assert page.run("document.querySelector('.thought').open")
    hold.release()
    page.wait_for(ENDED.format(1))
    assert not page.run("document.querySelector('.thought').open")
    assert page.run("document.querySelector('.thought-text').textContent") == "".join(MARKUP)
    assert answers(page) == ["Done"]
    assert provider.requests[0].reasoning.effort == "low"
    page.type("#prompt", "more" + ENTER)
    page.wait_for("document.querySelectorAll('.turn.user').length === 2")
    assert page.violations == []


def test_calls_are_shown_and_their_results_go_on(serve: Serve, page: Browser) -> None:
    provider = ScriptedProvider(
        call(0, id="a1", name=MARKUP[1]),
        call(0, arguments='{"river": "'),
        call(0, arguments=MARKUP[0] + '"}'),
        call(1, id="b2", name="second", arguments="{}"),
        finish=FinishReason.TOOL_CALLS,
    )
    open_at(page, serve(provider))
    page.click("#tools-example")
    page.type("#prompt", "go" + ENTER)
    page.wait_for(ENDED.format(1))
    assert page.text(".tool-name strong") == MARKUP[1]
    assert page.text(".call-arguments") == '{"river": "' + MARKUP[0] + '"}'
    assert page.run("document.querySelectorAll('.tool-call :is(img, script)').length") == 0
    page.type(".tool-call textarea", "2 m")
    page.type("#prompt", ENTER)  # the results are enough
    page.wait_for(ENDED.format(2))
    told = provider.requests[1].messages
    assert [m.role.value for m in told] == ["user", "assistant", "tool", "tool"]
    assert [m.content for m in told[2:]] == ["2 m", ""]
    assert page.violations == []


def test_an_answer_shows_what_the_ledger_charges(
    serve: Serve, accounts: AccountService, page: Browser, tmp_path: Path
) -> None:
    prices = (
        PriceConfig(
            model=CARD.id, input_micros=300_000, cached_input_micros=50_000, output_micros=900_000
        ),
    )
    config = Config(home=tmp_path, prices=prices)
    provider = ScriptedProvider(*"abcde", prompt_tokens=1_000, cached_tokens=600)
    secret = accounts.create(name="k", tier=Tier.FREE).secret
    page.open(serve(provider, accounts, config) + "/console")
    page.wait_for("!document.querySelector('#key-form').hidden")
    page.type("#key", secret + ENTER)
    page.wait_for(READY)
    assert "$0.3 in, $0.9 out" in page.text("#facts")
    page.type("#prompt", "go" + ENTER)
    page.wait_for(ENDED.format(1))
    used = Usage(prompt_tokens=1_000, completion_tokens=5, cached_tokens=600)
    micros = PriceList(prices).at(CARD.id, 0).amount(used)
    assert micros == 155  # (400 * 0.3 + 600 * 0.05 + 5 * 0.9) / 1e6 dollars, half up
    assert page.text(".cost") == page.text("#price") == "$0.000155"
    page.click("#forget-key")
    page.wait_for("!document.querySelector('#key-form').hidden")


@pytest.mark.parametrize("language", ["python", "typescript", "curl"])
def test_the_code_is_that_of_the_request(serve: Serve, page: Browser, language: str) -> None:
    provider = ScriptedProvider("x")
    open_at(page, serve(provider))
    put(page, "#system", "Be brief.")
    page.click(f"[data-language={language}]")
    page.type("#prompt", "one" + ENTER)
    page.wait_for(ENDED.format(1))
    page.type("#prompt", "it's" + ENTER)
    page.wait_for(ENDED.format(2))
    code = page.run("document.querySelector('#code').textContent")
    if language == "curl":
        body = json.loads(code.split("-d '")[1][:-1].replace("'\\''", "'"))
        sent = [(m["role"], m["content"]) for m in body["messages"]]
        assert sent == [(m.role.value, m.content) for m in provider.requests[1].messages]
        assert body["stream"] is True
    assert "it's" in code.replace("'\\''", "'")
    assert "YOUR_KEY" in code
    assert page.violations == []


def test_names_of_models_with_markup_stay_text(serve: Serve, page: Browser) -> None:
    names = (MARKUP[1], MARKUP[2])
    provider = ScriptedProvider("x", card=replace(CARD, id=names[0]), aliases=names[1:])
    open_at(page, serve(provider))
    page.click("#compare")
    page.type("#prompt", "go" + ENTER)
    page.wait_for("document.querySelector('.verdict')")
    shown = page.run("[...document.querySelectorAll('.answerer')].map((e) => e.textContent)")
    assert shown == list(names)
    assert page.run("document.querySelectorAll('main :is(img, script), .panel img').length") == 0
    assert page.violations == []


def test_a_long_answer_is_laid_out_in_parts_and_keeps_every_letter(
    serve: Serve, page: Browser
) -> None:
    lines = [f"line {n} of a long answer that goes on\n" for n in range(400)]
    open_at(page, serve(ScriptedProvider(*lines)))
    page.type("#prompt", "go" + ENTER)
    page.wait_for(ENDED.format(1))
    assert answers(page) == ["".join(lines)]
    assert page.run("document.querySelectorAll('.assistant .text > div').length") > 1
