"""Being told things and saying them back later, and the honest "you have not told me"."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .phrasebook import page
from .words import (
    COLOURS,
    FOODS,
    FRUITS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    SPORTS,
    article,
    city,
    coined,
    person,
    word,
)

Filler = Callable[[Random], list[Message]]
PET = ["dog", "cat", "rabbit", "horse", "parrot", "turtle", "hamster", "goldfish", "snake"]

TOLD = page("told")  # key: tell, reply, ask, answer, missing


def value(rng: Random, key: str) -> str:  # noqa: C901 - a table in the form of a match
    """Something to be told; often a coined word, so that only copying can bring it back."""
    match key:
        case "name" | "friend" | "sister":
            return (
                person(rng)
                if rng.random() < 0.9
                else f"{person(rng)} {coined(rng, 2, 2).capitalize()}"
            )
        case "pet":
            return person(rng) if rng.random() < 0.6 else word(rng).capitalize()
        case "age":
            return str(rng.randint(5, 99))
        case "number":
            return str(rng.choice((rng.randint(1, 99), rng.randint(100, 99999))))
        case "city":
            return city(rng)
        case "colour":
            return rng.choice(COLOURS)
        case "job":
            return rng.choice(JOBS)
        case "food":
            return rng.choice(FOODS + FRUITS) if rng.random() < 0.8 else coined(rng, 2, 3)
        case "hobby":
            return rng.choice(HOBBIES + SPORTS + [f"playing the {i}" for i in INSTRUMENTS])
        case "order":
            return " and ".join(
                rng.sample(
                    FRUITS + FOODS + ["a " + a for a in ("lamp", "book", "coat")], rng.randint(1, 2)
                )
            )
        case _:
            return word(rng) if rng.random() < 0.6 else coined(rng, 2, 3)


def slots(rng: Random, key: str) -> dict[str, object]:
    """Values for the phrases of one thing told."""
    told = value(rng, key)
    return {"v": told, "av": article(told), "k": rng.choice(PET)}


def capital(text: str) -> str:
    """The text with its first letter capital."""
    return text[:1].upper() + text[1:]


def memory(rng: Random, filler: Filler) -> list[Message]:
    """Tell one to three things, talk of something else, ask some of them back."""
    keys = rng.sample(list(TOLD), rng.choice((1, 1, 2, 2, 3)))
    if "age" in keys and "number" in keys:
        keys.remove("number")
    facts = {key: slots(rng, key) for key in keys}
    messages: list[Message] = []
    todo = list(keys)
    while todo:
        key = todo.pop(0)
        told = ask(rng, TOLD[key]["tell"], **facts[key])
        answer = capital(say(rng, TOLD[key]["reply"], **facts[key]))
        if todo and rng.random() < 0.35:
            other = todo.pop(0)
            told = (
                told.rstrip("?!. ")
                + rng.choice((" and ", ", and ", ". ", ", "))
                + ask(rng, TOLD[other]["tell"], **facts[other])
            )
            if rng.random() < 0.5 and "name" not in (key, other):
                answer = say(rng, "{Thank you for telling me.|I will remember that.|Got it.}")
        messages += turn(told, answer)
        if rng.random() < 0.25:
            messages += filler(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        messages += filler(rng)
    rng.shuffle(keys)
    for key in keys:
        messages += turn(
            ask(rng, TOLD[key]["ask"], **facts[key]),
            capital(say(rng, TOLD[key]["answer"], **facts[key])),
        )
    if rng.random() < 0.2:
        messages += not_told(rng, [k for k in TOLD if k not in keys])
    return messages


def not_told(rng: Random, keys: list[str] | None = None) -> list[Message]:
    """Asked for something that was never told."""
    key = rng.choice(keys or ["name", "name", "name", *TOLD])
    prompt = ask(rng, TOLD[key]["ask"], **slots(rng, key))
    return turn(
        prompt,
        say(
            rng,
            "{You have not told me [w] yet.|I do not know, you have not told me [w] yet.}",
            w=TOLD[key]["missing"],
        ),
    )
