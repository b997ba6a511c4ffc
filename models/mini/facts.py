"""Questions about closed facts, asked in many ways."""

from __future__ import annotations

from random import Random

from . import world_facts as world
from .dialogue import Message, turn
from .phrase import ask, say
from .phrasebook import rows

EXPLAIN = (
    "{what is|what's|whats|define|explain|what does [t] mean:|can you explain|tell me"
    " about|describe|please explain|what do you mean by|i want to know what is|do you know what"
    " is|give me a definition of|in simple words, what is|what exactly is|tell me what is|help me"
    " understand}"
)
SELF: list[tuple[str, list[str]]] = rows("self", "ask", "answers")
HOW: list[tuple[str, list[str]]] = rows("how", "ask", "answers")
TERMS: list[tuple[str, list[str]]] = rows("terms", "names", "answers")
Fact = tuple[str, str, str]  # question, short answer, full answer


def service(rng: Random) -> list[Message]:
    """About itself, Headrace, and the words of inference."""
    draw = rng.random()
    if draw < 0.36:
        question, answers = rng.choice(SELF[:1] if rng.random() < 0.3 else SELF)
        return turn(ask(rng, question), rng.choice(answers))
    if draw < 0.5:
        question, answers = rng.choice(HOW)
        return turn(ask(rng, question), rng.choice(answers))
    term, answers = rng.choice(TERMS[:3] if rng.random() < 0.15 else TERMS)
    name = say(rng, term)
    form = rng.random()
    if form < 0.72:
        prompt = ask(rng, EXPLAIN.replace("what does [t] mean:|", "") + " [t]?", t=name)
    elif form < 0.87:
        prompt = ask(
            rng,
            "{what does [t] mean|what is meant by [t]|what do people mean by [t]|[t] means"
            " what|meaning of [t]}?",
            t=name,
        )
    else:
        prompt = ask(rng, "{[t]|[t], what is that|[t] explained|and [t]|what about [t]}?", t=name)
    return turn(prompt, rng.choice(answers))


def _capital(rng: Random) -> Fact:
    land, town = rng.choice(list(world.CAPITALS.items()))
    if rng.random() < 0.2:
        question = ask(
            rng,
            "{[c] is the capital of {which|what} country|which country has the capital [c]|[c] is"
            " the capital of what|of which country is [c] the capital}?",
            c=town,
        )
        return question, land.removeprefix("the "), f"{town} is the capital of {land}."
    question = ask(
        rng,
        "{what is the capital of|what's the capital of|capital of|the capital of|name the capital"
        " of|tell me the capital of|do you know the capital of|which city is the capital of|what"
        " city is the capital of|can you tell me the capital of|i need the capital of|give me the"
        " capital of|what is the capital city of} [l]?",
        l=land if rng.random() < 0.85 else land.lower(),
    )
    return question, town, f"The capital of {land} is {town}."


def _continent(rng: Random) -> Fact:
    land, part = rng.choice(list(world.CONTINENTS.items()))
    question = ask(
        rng,
        "{on which continent is [l]|which continent is [l] in|[l] is on which continent|what"
        " continent does [l] belong to|where is [l]|in which part of the world is [l]}?",
        l=land,
    )
    return question, part, f"{land} is in {part}."


def _language(rng: Random) -> Fact:
    land, tongue = rng.choice(list(world.LANGUAGES.items()))
    question = ask(
        rng,
        "{what language do they speak in [l]|which language is spoken in [l]|what do people speak"
        " in [l]|language of [l]|what is the language of [l]|what language is used in [l]}?",
        l=land,
    )
    return question, tongue, f"People in {land} speak {tongue}."


def _opposite(rng: Random) -> Fact:
    one, other = rng.choice(list(world.OPPOSITES.items()))
    if (
        rng.random() < 0.3
        and list(world.OPPOSITES.values()).count(other) == 1
        and other not in world.OPPOSITES
    ):
        one, other = other, one
    question = ask(
        rng,
        "{what is the opposite of|what's the opposite of|opposite of|give me the opposite of|tell"
        " me the opposite of|the opposite of|which word is the opposite of|name the opposite of}"
        " [w]?",
        w=one,
    )
    return question, other, f"The opposite of {one} is {other}."


def _colour(rng: Random) -> Fact:
    thing, colour = rng.choice(list(world.COLOURS_OF.items()))
    question = ask(
        rng,
        "{what colour is|what color is|which colour is|what's the colour of|what is the color"
        " of|tell me the colour of|which color does [t] have:|what is the colour of} [t]?".replace(
            "which color does [t] have:|", ""
        ),
        t=thing,
    )
    return question, colour, f"{thing[0].upper() + thing[1:]} is {colour}."


def _animal(rng: Random) -> Fact:
    if rng.random() < 0.5:
        beast, sound = rng.choice(list(world.SOUNDS.items()))
        question = ask(
            rng,
            "{what sound does a [a] make|what does a [a] say|what noise does a [a] make|how does a"
            " [a] sound|which sound does a [a] make|the sound of a [a]}?",
            a=beast,
        )
        return question, sound, f"A {beast} says {sound}."
    beast, young = rng.choice(list(world.YOUNG.items()))
    question = ask(
        rng,
        "{what is a baby [a] called|what do you call a young [a]|what's a baby [a]|what is the"
        " young of a [a]|what is the name for a baby [a]|how is a young [a] called}?",
        a=beast,
    )
    return question, young, f"A young {beast} is called a {young}."


def _count(rng: Random) -> Fact:
    what, number = rng.choice(list(world.COUNTS.items()))
    question = ask(
        rng,
        "{how many [w]|tell me how many [w]|do you know how many [w]|i wonder how many [w]|can you"
        " say how many [w]}?",
        w=what,
    )
    if " does " in what:
        parts, owner = what.split(" does ")
        return question, number, f"{owner.removesuffix(' have').capitalize()} has {number} {parts}."
    if what == "continents are there":
        return question, number, f"There are {number} continents."
    things, _, place = what.partition(" are ")
    return question, number, f"There are {number} {things} {place}."


def _symbol(rng: Random) -> Fact:
    element, symbol = rng.choice(list(world.SYMBOLS.items()))
    question = ask(
        rng,
        "{what is the chemical symbol for|what is the symbol of|chemical symbol for|what's the"
        " chemical symbol of|what is the chemical formula of|the formula for|what is the formula"
        " for} [e]?",
        e=element,
    )
    return (
        question,
        symbol,
        (
            f"The chemical symbol of {element} is {symbol}."
            if len(symbol) < 3
            else f"The chemical formula of {element} is {symbol}."
        ),
    )


def _order(rng: Random) -> Fact:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    names = days if rng.random() < 0.5 else months
    at = rng.randrange(len(names))
    after = rng.random() < 0.6
    other = names[(at + (1 if after else -1)) % len(names)]
    side = "after" if after else "before"
    kind = "day" if names is days else "month"
    question = ask(
        rng,
        "{what [k] comes [s]|which [k] comes [s]|what comes [s]|what [k] is [s]|which [k] is"
        " [s]|the [k] [s]|name the [k] [s]} [n]?",
        k=kind,
        s=side,
        n=names[at],
    )
    return question, other, f"{other} comes {side} {names[at]}."


def _single(rng: Random) -> Fact:
    question, short, full = rng.choice(world.SINGLES)
    return ask(rng, question + "?"), short, full


def _letter(rng: Random) -> Fact:
    at = rng.randrange(25)
    question = ask(
        rng,
        "{what letter comes after|which letter comes after|what is the letter after|which letter"
        " follows} [l]?",
        l=chr(65 + at),
    )
    return question, chr(66 + at), f"{chr(66 + at)} comes after {chr(65 + at)}."


KINDS = (
    _capital,
    _capital,
    _capital,
    _continent,
    _language,
    _opposite,
    _opposite,
    _colour,
    _animal,
    _count,
    _symbol,
    _order,
    _single,
    _single,
    _single,
    _letter,
)


def fact(rng: Random) -> Fact:
    """Any closed fact."""
    return rng.choice(KINDS)(rng)


def capitals_in_turn(rng: Random) -> list[Message]:
    """One capital, then others asked for by the country alone."""
    question, _, full = _capital(rng)
    messages = turn(question, full)
    for land in rng.sample(list(world.CAPITALS), rng.randint(1, 2)):
        prompt = ask(
            rng, "{and|and of|what about|and what about|how about|and that of} [l]?", l=land
        )
        messages += turn(prompt, f"The capital of {land} is {world.CAPITALS[land]}.")
    return messages


def common(rng: Random) -> list[Message]:
    """A closed fact, answered in a sentence."""
    question, _, full = fact(rng)
    return turn(question, full)


def advice(rng: Random) -> list[Message]:
    """A little practical advice."""
    question, answer = rng.choice(world.ADVICE)
    return turn(ask(rng, question + "?"), answer)


def code(rng: Random) -> list[Message]:
    """A short program in a fence."""
    question, answer = rng.choice(world.CODE)
    return turn(
        ask(rng, question + "."),
        say(rng, "{Here it is:|Here is the code:}") + f"\n\n```python\n{answer}\n```",
    )
