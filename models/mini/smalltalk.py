"""Greetings, thanks, feelings, jokes, and noise."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .phrasebook import rows

GREET = (
    "{hi|hello|hey|hi there|hello there|good morning|good evening|good afternoon|hey"
    " there|greetings|howdy|yo|hiya|hallo|good day|hello headrace|hi headrace|hi mini|hello my"
    " friend|hi everyone|morning}{|!|.|,}"
)
GREETING = (
    "{Hello!|Hi!|Hello there!} {How can I help you?|What can I do for you?|What would you like to"
    " talk about?|How can I help you today?}"
)
PAIRS: list[tuple[str, str]] = [
    (GREET, GREETING),
    (GREET, GREETING),
    *rows("smalltalk", "ask", "answer"),
]


def small_talk(rng: Random) -> list[Message]:
    """One of the pairs."""
    question, answer = rng.choice(PAIRS)
    return turn(ask(rng, question), say(rng, answer))


def gibberish(rng: Random) -> list[Message]:
    """Noise deserves a friendly question."""
    letters = "".join(
        rng.choice("abcdefghijklmnopqrstuvwxyz;.,") for _ in range(rng.randint(3, 14))
    )
    text = rng.choice(
        (letters, "?", "...", "!!!", letters + " " + letters[::-1], ":)", "123", "asdf")
    )
    return turn(
        text,
        say(
            rng,
            "{I did not understand that. Could you say it in other words?|Sorry, I do not follow."
            " What would you like to know?}",
        ),
    )
