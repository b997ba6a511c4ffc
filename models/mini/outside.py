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
        year=rng.randint(1900, 2025),
        city=city(rng),
        coined=coined(rng, 2, 3),
        coined_cap=coined(rng, 2, 3).capitalize(),
        words=" ".join(word(rng) for _ in range(rng.randint(2, 4))),
        big=rng.randint(200, 9999),
        big2=rng.randint(100, 999),
        title=f"the {word(rng)} of {rng.choice((rng.choice(THINGS), coined(rng)))}",
    )


def unknown(rng: Random) -> list[Message]:
    """Something outside: say so."""
    if rng.random() < 0.65:
        return turn(strange_prompt(rng), say(rng, PAGE["unknown"]))
    prompt = ask(
        rng, rng.choice(PAGE["live"]), city=city(rng), coined=coined(rng, 2, 3), person=person(rng)
    )
    return turn(prompt, say(rng, PAGE["now"]))
