"""The arguments that tools take: their possible names, and makers of values for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .words import ANIMALS, COLOURS, FOODS, city, coined, person, word, words

Value = Callable[[Random], object]

LANGS = [
    "French",
    "German",
    "Spanish",
    "Italian",
    "Japanese",
    "Greek",
    "Polish",
    "Danish",
    "Korean",
]
ROOMS = ["kitchen", "bedroom", "living room", "bathroom", "office", "garage", "hall", "garden"]
UNITS = ["celsius", "fahrenheit"]
EXTRAS = ("verbose", "format", "timezone", "limit")  # optional arguments that no request sets


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of a tool: its possible names, its JSON type, the source of its values."""

    names: str
    kind: str
    value: Value
    about: str


def text(rng: Random) -> str:
    """One to four words."""
    return words(rng, 1, 4)


def clock(rng: Random) -> str:
    """A time of day."""
    return f"{rng.randint(0, 23)}:{rng.choice('012345')}{rng.choice('05')}"


CITY = Argument("city|location|place|town", "string", city, "name of the city")
PERSON = Argument("name|person|recipient|to|contact|user", "string", person, "name of the person")
TEXT = Argument("text|message|content|body|note", "string", text, "the text")
ITEM = Argument("item|product|thing|article", "string", word, "the item")
AMOUNT = Argument("count|amount|quantity|number", "integer", lambda r: r.randint(1, 99), "how many")
MINUTES = Argument("minutes|duration|length", "integer", lambda r: r.randint(1, 90), "minutes")
TIME = Argument("time|at|when|hour", "string", clock, "time of day")
ROOM = Argument("room|zone|where", "string", lambda r: r.choice(ROOMS), "which room")
QUERY = Argument("query|q|search|topic", "string", lambda r: words(r, 1, 3), "what to look for")
LANGUAGE = Argument(
    "language|target|lang|target_language", "string", lambda r: r.choice(LANGS), "language"
)
LEVEL = Argument(
    "level|value|percent|brightness", "integer", lambda r: r.randint(0, 100), "from 0 to 100"
)
A = Argument("a|x|first|left", "integer", lambda r: r.randint(0, 999), "first number")
B = Argument("b|y|second|right", "integer", lambda r: r.randint(0, 999), "second number")
ORDER_ID = Argument(
    "order_id|id|order|order_number",
    "string",
    lambda r: f"{r.choice('ABCDEFX')}{r.randint(100, 9999)}",
    "number of the order",
)
COLOUR = Argument("color|colour", "string", lambda r: r.choice(COLOURS), "the colour")
FOOD = Argument("dish|food|meal", "string", lambda r: r.choice(FOODS), "the dish")
FROM = Argument("origin|from|start|from_city", "string", city, "where it starts")
GOAL = Argument("destination|to|end|to_city", "string", city, "where it ends")
UNIT = Argument("unit|units", "string", lambda r: r.choice(UNITS), "celsius or fahrenheit")
ANIMAL = Argument("animal|species|pet", "string", lambda r: r.choice(ANIMALS), "the animal")
SYMBOL = Argument(
    "symbol|ticker|stock", "string", lambda r: coined(r, 1, 2).upper()[:4], "stock symbol"
)
