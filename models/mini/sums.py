"""Sums of small numbers, which of two is larger, and what comes next."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .facts import Fact
from .phrase import ask
from .words import NUMBERS


def sum_fact(rng: Random) -> Fact:
    """A small sum: question, bare result, result in a sentence."""
    kind = rng.randrange(4)
    if kind == 0:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        sign, name, result = "+", "plus", a + b
    elif kind == 1:
        a = rng.randint(0, 20)
        b = rng.randint(0, a)
        sign, name, result = "-", "minus", a - b
    elif kind == 2:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        sign, name, result = rng.choice("*x"), "times", a * b
    else:
        b, result = rng.randint(1, 10), rng.randint(1, 10)
        a, sign, name = b * result, "/", "divided by"
    spelled = kind < 3 and a <= 20 and b <= 20 and rng.random() < 0.15
    left, right = (NUMBERS[a], NUMBERS[b]) if spelled else (a, b)
    question = ask(
        rng,
        "{what is [a] [o] [b]|how much is [a] [o] [b]|calculate [a] [o] [b]|[a] [o] [b]|what's [a]"
        " [o] [b]|compute [a] [o] [b]|[a] [o] [b] =|can you calculate [a] [o] [b]|what do you get"
        " for [a] [o] [b]|tell me [a] [o] [b]}?",
        a=left,
        b=right,
        o=name if spelled or rng.random() < 0.5 else sign,
    )
    return question, str(result), f"{left} {name} {right} is {result}.".capitalize()


def arithmetic(rng: Random) -> list[Message]:
    """A small sum, or which number is larger, or what comes next."""
    draw = rng.random()
    if draw < 0.85:
        question, _, full = sum_fact(rng)
        return turn(question, full)
    a, b = rng.sample(range(100), 2)
    if draw < 0.93:
        prompt = ask(
            rng,
            "{which is larger, [a] or [b]|which number is bigger, [a] or [b]|what is greater, [a]"
            " or [b]|is [a] or [b] larger}?",
            a=a,
            b=b,
        )
        return turn(prompt, f"{max(a, b)} is larger than {min(a, b)}.")
    prompt = ask(
        rng,
        "{what number comes after|which number comes after|what comes after the number|what is the"
        " next number after} [a]?",
        a=a,
    )
    return turn(prompt, f"{a + 1} comes after {a}.")
