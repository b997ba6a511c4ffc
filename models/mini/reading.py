"""Reading: answer about a small text, or put its facts into a JSON object."""

from __future__ import annotations

import json
from random import Random

from .dialogue import Message, turn
from .memory import capital
from .phrase import ask, say
from .words import ANIMALS, COLOURS, FOODS, JOBS, city, person, word


def from_text(rng: Random) -> list[Message]:
    """Read a small text and answer about it."""
    who, other = person(rng), person(rng)
    place, thing, animal = city(rng), word(rng), rng.choice(ANIMALS)
    time, colour, amount = rng.randint(1, 12), rng.choice(COLOURS), rng.randint(2, 90)
    rows = [
        (
            "[who] lives in [place].",
            "{where does [who] live|in which city does [who] live|what is the home of [who]}",
            "[who] lives in [place].",
        ),
        (
            "[who] has [amount] [animal]s.",
            "{how many [animal]s does [who] have|what is the number of [animal]s}",
            "[who] has [amount] [animal]s.",
        ),
        (
            "[who] bought a [colour] [thing].",
            "{what did [who] buy|what was bought}",
            "[who] bought a [colour] [thing].",
        ),
        (
            "[who] met [other] at [time].",
            "{who did [who] meet|whom did [who] meet}",
            "[who] met [other].",
        ),
        (
            "The train to [place] leaves at [time].",
            (
                "{when does the train leave|when does the train to [place] leave|at what time does"
                " the train go}"
            ),
            "The train leaves at [time].",
        ),
        (
            "The [animal] is called [other].",
            "{what is the [animal] called|what is the name of the [animal]}",
            "The [animal] is called [other].",
        ),
        (
            "The [thing] costs [amount] euros.",
            "{how much does the [thing] cost|what is the price of the [thing]}",
            "The [thing] costs [amount] euros.",
        ),
    ]
    values: dict[str, object] = {
        "who": who,
        "other": other,
        "place": place,
        "thing": thing,
        "animal": animal,
        "time": time,
        "colour": colour,
        "amount": amount,
    }
    chosen = rng.sample(rows, rng.randint(1, 3))
    text = say(rng, " ".join(row[0] for row in chosen), **values)
    _, question, answer = rng.choice(chosen)
    asked = ask(rng, question + "?", **values)
    if rng.random() < 0.5:
        prompt = f"{text}{rng.choice((' ', chr(10)))}{asked}"
    else:
        prompt = say(rng, "{Read this|Here is a text|Text}:") + f" {text} {asked}"
    return turn(prompt, capital(say(rng, answer, **values)))


def as_json(rng: Random) -> list[Message]:
    """Put the facts of a sentence into a JSON object."""
    name, age, town = person(rng), rng.randint(2, 99), city(rng)
    job, food, colour = rng.choice(JOBS), rng.choice(FOODS), rng.choice(COLOURS)
    facts = [
        ("name", name, "[name]"),
        ("age", age, "{is [age] years old|is [age]|, [age],}"),
        ("city", town, "lives in [city]"),
        ("job", job, "works as a [job]"),
        ("food", food, "likes [food]"),
        ("color", colour, "loves [color]"),
    ]
    chosen = [facts[0], *sorted(rng.sample(facts[1:], rng.randint(1, 3)), key=lambda f: f[0])]
    values = {key: value for key, value, _ in chosen}
    sentence = "[name] " + " and ".join(p.replace(", [age],", "is [age]") for _, _, p in chosen[1:])
    keys = ", ".join(values)
    start = rng.choice(
        (
            "{give me|make|write|return|create} {a json object|json} with the keys [keys]:",
            "{extract|get} [keys] as json:",
            "{convert|turn} this {into|to} json with [keys]:",
            "{answer in json with|fill a json object with} [keys]:",
            "{write this as json|as json|make json from this}:",
        )
    )
    prompt = ask(rng, start, keys=keys).rstrip(" ?!.") + " " + say(rng, sentence, **values) + "."
    return turn(prompt, json.dumps(values, ensure_ascii=False))
