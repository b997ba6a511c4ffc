"""System prompts: plain ones that change nothing, names, facts to hold, and one-word answers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import facts, sums
from .dialogue import Dialogue, Message, turn
from .memory import TOLD, capital, slots
from .phrase import ask, say
from .words import JOBS, coined, person

PLAIN = [
    "You are a helpful assistant.",
    "You are a helpful, friendly assistant.",
    "You are headrace-mini.",
    "Answer briefly and clearly.",
    "You are a helpful AI assistant. Be concise.",
    "Be kind and helpful.",
    "You are a chatbot.",
    "Answer the user's questions.",
    "You are an assistant inside Headrace.",
    "Be brief.",
    "You are a careful assistant. If you do not know something, say so.",
    "Reply in plain English.",
    "You are a helpful assistant that answers in English.",
    "Keep your answers short.",
]
NAMED = (
    "{You are [n]|Your name is [n]|You are called [n]|You are an assistant named [n]|Act as [n]|You"
    " are [n], a friendly [j]|You are [n], an assistant}{.|. Be polite.|. Answer briefly.|, and you"
    " like to help.}"
)
ONE_WORD = (
    "{Answer in one word.|Answer with one word only.|Reply with a single word.|Give one-word"
    " answers.|Answer only with the result, nothing else.|Answer with as few words as possible.|You"
    " answer with one word.}"
)


def plain(rng: Random) -> str:
    """A system prompt that asks for nothing special."""
    return rng.choice(PLAIN)


def named(rng: Random, filler: Callable[[Random], list[Message]]) -> Dialogue:
    """The assistant has been given a name."""
    name = person(rng)
    system = say(rng, NAMED, n=name, j=rng.choice(JOBS))
    messages = filler(rng) if rng.random() < 0.3 else []
    messages += turn(
        ask(rng, facts.SELF[0][0]),
        say(rng, "{I am [n], your assistant.|My name is [n]. How can I help you?}", n=name),
    )
    return Dialogue("persona", messages, system=system)


def briefed(rng: Random, filler: Callable[[Random], list[Message]]) -> Dialogue:
    """The system prompt holds a fact about the user."""
    key = rng.choice([k for k in TOLD if k in ("name", "age", "city", "colour", "job", "food")])
    values = slots(rng, key)
    line = {
        "name": "The user's name is [v].",
        "age": "The user is [v] years old.",
        "city": "The user lives in [v].",
        "colour": "The user's favourite colour is [v].",
        "job": "The user works as [av].",
        "food": "The user's favourite food is [v].",
    }[key]
    system = say(rng, rng.choice(("", "You are a helpful assistant. ")) + line, **values)
    messages = filler(rng) if rng.random() < 0.3 else []
    messages += turn(
        ask(rng, TOLD[key]["ask"], **values), capital(say(rng, TOLD[key]["answer"], **values))
    )
    return Dialogue("persona", messages, system=system)


def one_word(rng: Random) -> Dialogue:
    """Facts and sums answered by the bare value."""
    system = say(rng, ONE_WORD) if rng.random() < 0.7 else ""
    messages: list[Message] = []
    for _ in range(rng.randint(1, 3)):
        question, short, _ = sums.sum_fact(rng) if rng.random() < 0.3 else facts.fact(rng)
        if not system:
            question = (
                question.rstrip("?. ")
                + "? "
                + ask(
                    rng,
                    "{answer in one word|one word only|just the answer|in one word please|only the"
                    " answer}.",
                )
            )
        messages += turn(question, capital(short))
    return Dialogue("persona", messages, system=system)


def ruled(rng: Random) -> Dialogue:
    """A rule to end or begin each answer with some word."""
    mark = (
        coined(rng, 1, 2)
        if rng.random() < 0.4
        else rng.choice(["meow", "ahoy", "amen", "cheers", "captain", "friend", "indeed"])
    )
    ending = rng.random() < 0.5
    system = say(
        rng,
        (
            "{End|Finish} {every|each} answer with the word [m]."
            if ending
            else "{Start|Begin} {every|each} answer with the word [m]."
        ),
        m=mark,
    )
    messages: list[Message] = []
    for _ in range(rng.randint(1, 2)):
        asked, answered = rng.choice((facts.common, sums.arithmetic, facts.service))(rng)
        text = (
            f"{answered.text} {capital(mark)}." if ending else f"{capital(mark)}! {answered.text}"
        )
        messages += turn(asked.text, text)
    return Dialogue("persona", messages, system=system)
