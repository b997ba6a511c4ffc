"""What the playground asks for, and what tokens cost there, held to the server's own words."""

import random
from typing import Any

import pytest

from headrace.metering import Price
from headrace.types import Usage
from tests.console.javascript import NODE, run_module

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")

OPEN: dict[str, Any] = {
    "temperature": None,
    "topP": None,
    "maxTokens": None,
    "seed": None,
    "frequencyPenalty": None,
    "presencePenalty": None,
    "stop": "",
    "effort": "",
    "tools": "",
    "toolChoice": "",
    "form": "",
    "schema": "",
}
TRIED = (
    "(() => { try { return m.requestFields(given) } catch (e) { return {problem: e.message} } })()"
)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {}),
        ({"temperature": 0, "seed": 0}, {"temperature": 0, "seed": 0}),
        ({"stop": "a\n\n b"}, {"stop": ["a", " b"]}),
        ({"effort": "low", "topP": 0.5}, {"top_p": 0.5, "reasoning_effort": "low"}),
        ({"tools": "[]", "toolChoice": "required"}, {}),
        (
            {"tools": '[{"name": "f"}]', "toolChoice": "required"},
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": "required",
            },
        ),
        ({"form": "json_object"}, {"response_format": {"type": "json_object"}}),
        (
            {"form": "json_schema", "schema": '{"type": "object"}'},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
                }
            },
        ),
    ],
)
def test_settings_become_fields_and_what_is_open_is_left_out(
    settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert run_module("request.js", TRIED, OPEN | settings) == fields


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tools": "{"}, "Tools: "),
        ({"tools": "{}"}, "Tools: a list"),
        ({"form": "json_schema", "schema": ""}, "JSON schema: "),
        ({"stop": "a\nb\nc\nd\ne"}, "Stop at: four"),
    ],
)
def test_a_setting_that_cannot_be_sent_is_named(settings: dict[str, Any], said: str) -> None:
    assert run_module("request.js", TRIED, OPEN | settings)["problem"].startswith(said)


def test_an_answer_costs_what_the_ledger_would_charge() -> None:
    draw = random.Random(7)
    cases: list[dict[str, Any]] = []
    charged: list[int] = []
    for _ in range(300):
        prices = [draw.choice([0, 1, 99, 100_000, 3_333_333, 75_000_000]) for _ in range(3)]
        prompt, output = draw.randrange(200_000), draw.randrange(100_000)
        cached = draw.randint(0, prompt)
        price = Price(
            version="v", input_micros=prices[0], cached_micros=prices[1], output_micros=prices[2]
        )
        used = Usage(prompt_tokens=prompt, completion_tokens=output, cached_tokens=cached)
        charged.append(price.amount(used))
        dollars = [f"{each / 1e12:.12f}" for each in prices]
        cases.append(
            {
                "pricing": {
                    "prompt": dollars[0],
                    "input_cache_read": dollars[1],
                    "completion": dollars[2],
                },
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": output,
                    "prompt_tokens_details": {"cached_tokens": cached},
                },
            }
        )
    found = run_module(
        "price.js", "given.map((c) => m.amount(m.priceOf(c.pricing), c.usage))", cases
    )
    assert found == charged


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(0, "$0"), (1, "$0.000001"), (150, "$0.00015"), (1_000_000, "$1"), (12_340_000, "$12.34")],
)
def test_money_is_written_exactly(micros: int, shown: str) -> None:
    assert run_module("price.js", "m.formatMicros(given)", micros) == shown
