"""Tool calls: many synthetic tools, a request whose words hold the values, the call, the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from .arguments import CITY, EXTRAS, UNIT, UNITS, clock
from .dialogue import Dialogue, Message, turn
from .phrase import ask, say
from .template import call_text
from .tool_families import FAMILIES, Family
from .words import ANIMALS, KEYS, THINGS, VERBS, city, coined, person, word, words


def _shuffled(rng: Random, values: dict[str, Any]) -> dict[str, Any]:
    keys = list(values)
    if rng.random() < 0.4:
        rng.shuffle(keys)
    return {key: values[key] for key in keys}


def _spec(rng: Random, name: str, about: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A tool as OpenAI clients send it, with the variety they have."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        schema["required"] = [key for key in properties if key not in EXTRAS]
    if rng.random() < 0.1:
        schema["additionalProperties"] = False
    function: dict[str, Any] = {"name": name}
    if about:
        function["description"] = about
    function["parameters"] = _shuffled(rng, schema)
    return {"type": "function", "function": _shuffled(rng, function)}


@dataclass(frozen=True, slots=True)
class Job:
    """A tool made up for one dialogue, and a request that it serves."""

    tool: dict[str, Any]
    name: str
    parameters: dict[str, Any]
    request: str
    result: str
    answer: str


def _known(rng: Random, family: Family | None = None) -> Job:
    """A tool of some family under one of its names."""
    family = family or rng.choice(FAMILIES)
    name = rng.choice(family.names.split("|"))
    if rng.random() < 0.1:
        head, *tail = name.split("_")
        name = head + "".join(part.capitalize() for part in tail)
    bare = rng.random() < 0.25
    parameters: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    slots: dict[str, object] = {}
    for at, argument in enumerate(family.arguments):
        key = rng.choice([n for n in argument.names.split("|") if n not in parameters])
        parameters[key] = argument.value(rng)
        slots[str(at)] = parameters[key]
        properties[key] = {"type": argument.kind}
        if not bare:
            properties[key]["description"] = argument.about
        if argument is UNIT:
            properties[key]["enum"] = UNITS
    if rng.random() < 0.12 and len(properties) < 3:
        properties[rng.choice(EXTRAS)] = {"type": "string"}
    more = {
        "n": rng.randint(0, 99),
        "t": clock(rng),
        "w": words(rng, 1, 3) if rng.random() < 0.7 else coined(rng, 2, 3),
        "c": rng.choice(
            ("sunny", "cloudy", "rainy", "windy", "foggy", "snowing", "clear", "stormy")
        ),
        "s": rng.choice(
            ("on its way", "sent", "delivered", "delayed", "being packed", "cancelled", "ready")
        ),
    }
    result, answer = rng.choice(family.results)
    if rng.random() < 0.06:
        result, answer = (
            '{"error": "[w]"}',
            "{I am sorry, the|Sorry, the|The} tool reported an error: [w].",
        )
    request = ask(rng, family.requests, **slots)
    if family.arguments == (CITY,) and rng.random() < 0.15:
        request = ask(rng, "i am in [0] now. ", **slots) + " " + ask(rng, family.requests, **slots)
    return Job(
        _spec(rng, name, say(rng, family.about), properties),
        name,
        parameters,
        request,
        say(rng, result, **slots, **more) if "{" not in result else _fill(result, slots | more),
        say(rng, answer, **slots, **more),
    )


def _fill(text: str, values: dict[str, object]) -> str:
    for key, filled in values.items():
        text = text.replace(f"[{key}]", str(filled))
    return text


def _coined(rng: Random) -> Job:
    """A tool that never was: names and values can only be copied."""
    verb = rng.choice(VERBS)
    noun = coined(rng, 1, 3) if rng.random() < 0.6 else rng.choice(THINGS + ANIMALS)
    name = f"{verb}_{noun}"
    keys = rng.sample([*KEYS, coined(rng, 2, 2)], rng.randint(0, 3))
    parameters: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for key in keys:
        if rng.random() < 0.35:
            parameters[key], properties[key] = rng.randint(0, 9999), {"type": "integer"}
        elif rng.random() < 0.15:
            parameters[key], properties[key] = rng.random() < 0.5, {"type": "boolean"}
        else:
            parameters[key] = rng.choice((word, person, city))(rng)
            properties[key] = {"type": "string"}
    told = [f"{key} {json.dumps(v) if isinstance(v, bool) else v}" for key, v in parameters.items()]
    told = [t.replace(" ", rng.choice((" ", " = ", " ", ": ")), 1) for t in told]
    tail = ""
    if told:
        tail = " with " + (", ".join(told[:-1]) + " and " + told[-1] if len(told) > 1 else told[0])
    request = (
        ask(
            rng,
            "{[v] the [n]|please [v] the [n]|can you [v] the [n]|use [name]|call [name]|i want to"
            " [v] the [n]|[v] [n]|[v] a [n]|run the tool [name]}",
            v=verb,
            n=noun,
            name=name,
        ).rstrip("?!. ")
        + tail
    )
    about = rng.choice(("", f"{verb.capitalize()} the {noun}", f"{verb.capitalize()} a {noun}"))
    word_back = word(rng)
    return Job(
        _spec(rng, name, about, properties),
        name,
        parameters,
        request,
        rng.choice((json.dumps({"result": word_back}), word_back)),
        f"The result is {word_back}.",
    )


def job(rng: Random) -> Job:
    """Any tool with its request."""
    return _known(rng) if rng.random() < 0.7 else _coined(rng)


def call(rng: Random, filler: Callable[[Random], list[Message]]) -> Dialogue:
    """Tools are given: call the right one and answer from its result, or need none."""
    right = job(rng)
    others = [job(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
    tools = [right.tool]
    seen = {right.name, right.tool["function"].get("description", "")}
    for other in others:
        marks = {other.name, other.tool["function"].get("description", "")}
        if not seen & marks:
            tools.append(other.tool)
            seen |= marks
    rng.shuffle(tools)
    draw = rng.random()
    if draw < 0.16:
        messages = filler(rng)
        if rng.random() < 0.6:
            return Dialogue("tool", messages, tools=tools)
    else:
        messages = filler(rng) if draw < 0.22 else []
    messages = messages + turn(right.request, call_text(right.name, right.parameters))
    if rng.random() < 0.55:
        messages += [Message("tool", right.result), Message("assistant", right.answer)]
        if rng.random() < 0.2:
            messages += filler(rng)
    return Dialogue("tool", messages, tools=tools)
