"""Questions outside what the model knows, and the honest "I do not know"."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .phrasebook import page
from .words import NAMES, THINGS, city, coined, person, word

PAGE = page("outside")


def strange_prompt(rng: Random) -> str:
    """A question that no small model should pretend to answer."""
    return ask(
        rng,
        rng.choice(PAGE["strange"]),
        person=rng.choice(NAMES) if rng.random() < 0.5 else person(rng),
        surname=coined(rng, 2, 3).capitalize(),
        land=rng.choice(PAGE["lands"]),
        topic=rng.choice(PAGE["topics"]),
        year=rng.randint(1900, 2025),
        city=city(rng),
        coined=coined(rng, 2, 3),
        coined_cap=coined(rng, 2, 3).capitalize(),
        words=" ".join(word(rng) for _ in range(rng.randint(2, 4))),
        big=rng.randint(200, 9999),
        big2=rng.randint(100, 999),
        title=f"the {word(rng)} of {rng.choice((rng.choice(THINGS), coined(rng)))}",
    )


def large_sum(rng: Random) -> list[Message]:
    """A sum beyond the small ones: decline it."""
    low, high = rng.choice(((21, 99), (21, 99), (100, 9999)))
    a, b = rng.randint(low, high), rng.randint(11, high)
    prompt = ask(rng, PAGE["sums"], a=a, b=b)
    return turn(prompt, say(rng, PAGE["too_large"]))


def unknown(rng: Random) -> list[Message]:
    """Something outside: say so."""
    pick = rng.random()
    if pick < 0.6:
        return turn(strange_prompt(rng), say(rng, PAGE["unknown"]))
    if pick < 0.72:
        return large_sum(rng)
    prompt = ask(
        rng, rng.choice(PAGE["live"]), city=city(rng), coined=coined(rng, 2, 3), person=person(rng)
    )
    return turn(prompt, say(rng, PAGE["now"]))
