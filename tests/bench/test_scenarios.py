"""Checkers: right answers pass, each kind of wrong one is called by its name."""

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.client import ToolCall
from headrace.bench.scenarios import SCENARIOS, Outcome, scenario_named
from headrace.bench.scenarios.agent import MAX_CALLS, errand
from headrace.bench.scenarios.dialogue import dialogue
from headrace.bench.scenarios.schema import check_schema, follows
from headrace.bench.scenarios.short import question, summary, tool_call
from headrace.errors import ConfigError
from tests.bench.agent import good_agent
from tests.bench.virtual import answered

SEEDS = range(12)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "warm-cache"])
def test_the_same_seed_sends_the_same_and_no_two_begin_alike(name: str) -> None:
    scenario = scenario_named(name)
    words = min(scenario.words, 300)
    bodies = []
    for number in range(6):
        calls = [scenario.make(7, number, words).next_call(()) for _ in range(2)]
        assert calls[0] is not None
        assert calls[1] is not None
        assert calls[0].body("m", 7) == calls[1].body("m", 7)
        bodies.append(str(calls[0].messages[0]["content"])[:14])
    assert len(set(bodies)) == len(bodies)


def test_a_warm_cache_is_asked_the_same_again_as_tasks_of_their_own() -> None:
    tasks = [scenario_named("warm-cache").make(7, number, 300) for number in range(3)]
    calls = [call for task in tasks if (call := task.next_call(())) is not None]
    assert calls[0].body("m", 7) == calls[1].body("m", 7) == calls[2].body("m", 7)
    assert len({task.id for task in tasks}) == 3


def test_no_two_scenarios_begin_alike() -> None:
    calls = [scenario.make(7, 1, 300).next_call(()) for scenario in SCENARIOS.values()]
    begins = [str(call.messages[0]["content"])[:14] for call in calls if call]
    assert len(set(begins)) == len(SCENARIOS)


def test_long_prompts_have_the_length_that_was_asked_for() -> None:
    for words in (100, 1_000, 10_000):
        call = summary("s", 0, 0, words).call
        assert words - 30 <= call.words <= words + 20


@pytest.mark.parametrize("number", SEEDS)
def test_a_summary_must_hold_every_fact_and_be_short(number: int) -> None:
    task = summary("s", 0, number, 600)
    said = str(task.call.messages[0]["content"])
    facts = re.findall(r"((?:The harbour|The storm|The debt|The ship|The new)[^.]*\.)", said)
    assert len(facts) == 5
    assert task.check([answered(" ".join(facts))]) is Outcome.PASSED
    assert task.check([answered(" ".join(facts[1:]))]) is Outcome.WRONG_ANSWER
    assert task.check([answered(" ".join(facts) + " so" * 300)]) is Outcome.WRONG_ANSWER


def test_a_question_is_answered_or_not() -> None:
    task = question("q", 0, 2)  # 17 times 6
    assert "17 times 6" in str(task.call.messages)
    assert task.check([answered("That is 102.")]) is Outcome.PASSED
    assert task.check([answered("That is 1020.")]) is Outcome.WRONG_ANSWER


@pytest.mark.parametrize("number", range(3))
def test_a_tool_call_fails_in_four_ways(number: int) -> None:
    task = tool_call("t", 0, number)
    right = dict(task.arguments)
    other = "cancel_booking" if task.tool != "cancel_booking" else "convert_weight"
    fits = {"booking_id": "x"} if other == "cancel_booking" else {"kilograms": 1, "unit": "stone"}

    def outcome(name: str, arguments: object) -> Outcome:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return task.check([answered("", ToolCall(id="1", name=name, arguments=text))])

    assert outcome(task.tool, right) is Outcome.PASSED
    assert outcome(task.tool, json.dumps(right)[:-1]) is Outcome.INVALID_JSON
    assert outcome(task.tool, right | {"more": 1}) is Outcome.INVALID_SCHEMA
    assert outcome(other, fits) is Outcome.WRONG_TOOL
    assert outcome("no_such_tool", right) is Outcome.WRONG_TOOL
    first = next(iter(right))
    changed = right[first] + (1 if isinstance(right[first], int) else "x")
    assert outcome(task.tool, right | {first: changed}) is Outcome.WRONG_ARGUMENTS
    assert task.check([answered("I would rather talk")]) is Outcome.WRONG_TOOL


def test_a_dialogue_asks_in_turn_eight_what_was_said_in_turn_one() -> None:
    task, answers = dialogue("d", 0, 3), []
    while (call := task.next_call(answers)) is not None:
        assert len(call.messages) == 2 * len(answers) + 1
        answers.append(answered(f"answer {len(answers)}"))
    assert len(answers) == 8
    assert task.check(answers) is Outcome.WRONG_ANSWER
    said = str(task.turns[0])
    assert all(fact in said for fact in task.facts)
    assert task.check([*answers[:-1], answered(", ".join(task.facts))]) is Outcome.PASSED


@pytest.mark.parametrize("number", SEEDS)
def test_an_agent_that_reads_what_tools_say_has_the_errand_done_in_time(number: int) -> None:
    task, answers = errand(0, number), []
    while (call := task.next_call(answers)) is not None:
        called = good_agent(json.loads(call.body("m", 0)))
        assert isinstance(called, ToolCall)
        answers.append(answered("", called))
    assert task.check(answers) is Outcome.PASSED
    assert 5 <= len(answers) <= MAX_CALLS


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("get_price", '{"supplier": ', "error: the arguments are no JSON"),
        ("get_price", '{"supplier": "x"}', "error: no such tool or wrong arguments"),
        ("buy", "{}", "error: no such tool or wrong arguments"),
        ("list_suppliers", '{"goods": "tea"}', "nobody sells tea"),
        ("get_stock", '{"supplier": "Nobody", "goods": "GOODS"}', "no such supplier"),
    ],
)
def test_tools_say_what_is_wrong_with_a_call(name: str, arguments: str, told: str) -> None:
    task = errand(0, 0)
    call = ToolCall(id="1", name=name, arguments=arguments.replace("GOODS", task.goods))
    asked = task.next_call([answered("", call)])
    assert asked is not None
    assert asked.messages[-1] == {"role": "tool", "tool_call_id": "1", "content": told}


def test_an_order_fails_in_four_ways() -> None:
    task = errand(0, 0)
    right = {"supplier": task.supplier, "goods": task.goods, "crates": task.crates}

    def outcome(name: str, arguments: str) -> Outcome:
        return task.check([answered("", ToolCall(id="1", name=name, arguments=arguments))])

    assert outcome("order", json.dumps(right)) is Outcome.PASSED
    assert outcome("order", json.dumps(right)[:-1]) is Outcome.INVALID_JSON
    assert outcome("order", json.dumps(right | {"crates": "many"})) is Outcome.INVALID_SCHEMA
    assert outcome("order", json.dumps(right | {"crates": 1})) is Outcome.WRONG_ARGUMENTS
    assert outcome("buy", json.dumps(right)) is Outcome.WRONG_TOOL


def test_an_errand_is_not_done_by_the_cheapest_without_stock_nor_without_an_order() -> None:
    task = errand(0, 0)
    cheapest = min(task.prices, key=lambda name: task.prices[name])
    order = {"supplier": cheapest, "goods": task.goods, "crates": task.crates}
    bought = answered("", ToolCall(id="1", name="order", arguments=json.dumps(order)))
    assert task.next_call([bought]) is None
    assert task.check([bought]) is Outcome.WRONG_ARGUMENTS
    looks = [answered("", ToolCall(id="1", name="list_suppliers", arguments="{}"))] * MAX_CALLS
    assert task.next_call(looks) is None
    assert task.check(looks) is Outcome.WRONG_ANSWER
    assert task.next_call([answered("just words")]) is None


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "integer"}, {"type": ["number", "null"], "minimum": 1}, {"enum": ["a", 2]},
            {"type": "string", "maxLength": 2}, {"type": "boolean"}, {}, {"const": None},
            {"type": "string", "pattern": "^a"},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda i: {"type": "array", "items": i, "maxItems": 2}, inner),
        st.builds(
            lambda i, more: {
                "type": "object", "properties": {"a": i}, "required": ["a"],
                "additionalProperties": more,
            },
            inner, st.booleans(),
        ),
    ),
    max_leaves=4,
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 2.0, 2.5, "a", "ab", "abc", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_schemas_are_judged_as_the_standard_has_them(schema: dict[str, Any], value: Any) -> None:
    check_schema(schema, where="s")
    judge = jsonschema.Draft202012Validator(schema).is_valid(value)
    if isinstance(value, bool) or True in _flat(value) or False in _flat(value):
        return  # Python's True equals 1 in enum; the standard's does not
    assert follows(value, schema) == judge


def _flat(value: object) -> list[object]:
    if isinstance(value, list):
        return [x for item in value for x in _flat(item)]
    if isinstance(value, dict):
        return [x for item in value.values() for x in _flat(item)]
    return [value] if isinstance(value, bool) else []


@pytest.mark.parametrize(
    "schema", [{"oneOf": []}, {"type": "date"}, {"properties": {"a": {"$ref": "#"}}}]
)
def test_what_cannot_be_judged_is_said(schema: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="s"):
        check_schema(schema, where="s")


def test_an_unknown_scenario_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="no scenario 'x'"):
        scenario_named("x")
