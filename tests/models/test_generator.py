import json
from collections import Counter
from itertools import islice

from mini.dialogue import Dialogue, normal_form
from mini.generate import EVALUATION, dialogues, held_out

SAMPLE = 20_000


def sample() -> list[Dialogue]:
    return list(islice(dialogues(seed=7), SAMPLE))


def test_a_seed_always_gives_the_same_dialogues() -> None:
    first, second = (list(islice(dialogues(seed=3), 500)) for _ in range(2))
    assert first == second
    assert first != list(islice(dialogues(seed=4), 500))


def test_training_never_asks_what_the_frozen_evaluation_asks_and_every_dialogue_is_whole() -> None:
    kept_out = held_out()
    assert len(kept_out) > 140
    kinds: Counter[str] = Counter()
    for dialogue in sample():
        kinds[dialogue.kind] += 1
        assert not {normal_form(text) for text in dialogue.user_texts()} & kept_out
        if dialogue.plain:
            continue
        assert dialogue.messages[-1].role == "assistant"
        assert all(message.text.strip() for message in dialogue.messages)
        before = ["", *(message.role for message in dialogue.messages)]
        for last, message in zip(before, dialogue.messages, strict=False):
            assert message.role != last, dialogue
    assert {"talk", "fact", "service", "sum", "task", "memory", "story", "tool"} <= set(kinds)


def test_without_the_guard_training_would_ask_some_of_them() -> None:
    kept_out = held_out()
    loose = islice(dialogues(seed=7, excluded=frozenset()), SAMPLE // 4)
    met = {normal_form(text) for dialogue in loose for text in dialogue.user_texts()} & kept_out
    assert met, "the guard guards nothing: normal forms no longer match"


def test_a_called_tool_is_one_that_was_offered_with_arguments_it_has() -> None:
    called = 0
    for dialogue in islice(dialogues(seed=11), 4000):
        offered = {tool["function"]["name"]: tool["function"] for tool in dialogue.tools}
        for message in dialogue.messages:
            if offered and message.role == "assistant" and message.text.startswith('{"name"'):
                call = json.loads(message.text)
                if "parameters" not in call:
                    continue  # a JSON task beside tools
                properties = offered[call["name"]]["parameters"]["properties"]
                assert set(call["parameters"]) <= set(properties)
                called += 1
    assert called > 300


def test_evaluation_items_are_well_formed_and_unique() -> None:
    seen: set[str] = set()
    for path in EVALUATION.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            assert item["category"] == path.stem
            assert item["expect"]
            assert item["messages"][-1]["role"] in {"user", "tool"}
            assert item["id"] not in seen
            seen.add(item["id"])
    assert len(seen) >= 150
