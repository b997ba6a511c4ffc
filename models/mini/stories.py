"""Stories, paragraphs and poems from a grammar: fluent text of some sixty to two hundred tokens."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .phrasebook import page
from .words import ADJECTIVES, ANIMALS, JOBS, THINGS, article, coined, person

HEROES = [
    *ANIMALS,
    *JOBS,
    "robot",
    "unicorn",
    "king",
    "queen",
    "giant",
    "witch",
    "boy",
    "girl",
    "dragon",
    "ghost",
    "knight",
    "princess",
    "wizard",
    "cloud",
    "train",
    "lighthouse",
    "computer",
    "snowman",
    "child",
]

TALES = page("tales")
TOPICS: dict[str, list[str]] = page("topics")
PARTS = ("start", "trait", "trouble", "try", "help", "finish")


def story_text(rng: Random, hero: str, name: str) -> str:
    """A story of five to seven parts about one hero."""
    friend = person(rng)
    slots: dict[str, object] = {
        "hero_a": (
            f"{article(rng.choice(ADJECTIVES))} {hero}" if rng.random() < 0.6 else article(hero)
        ),
        "name": name,
        "thing_a": article(f"{rng.choice(ADJECTIVES)} {rng.choice(THINGS)}"),
        "friend_a": article(rng.choice(HEROES)),
        "friend": friend,
        "friend_cap": friend[0].upper() + friend[1:],
    }
    parts = [TALES[part] for part in PARTS]
    if rng.random() < 0.25:
        parts.pop(rng.choice((1, 3)))
    return " ".join(say(rng, rng.choice(part), **slots) for part in parts)


def paragraph_text(rng: Random, topic: str) -> str:
    """A paragraph about a known topic, or an honest short one about any other."""
    sentences = TOPICS.get(topic)
    if sentences is None:
        cap = topic[0].upper() + topic[1:]
        return " ".join(say(rng, line, topic=topic, topic_cap=cap) for line in TALES["any_topic"])
    first, *rest = sentences
    kept = [line for line in rest if rng.random() < 0.9]
    return " ".join([first, *kept])


def poem_text(rng: Random) -> str:
    """Two to four rhymed couplets."""
    lines = []
    for first, second in rng.sample(TALES["rhymes"], rng.randint(2, 4)):
        a, b = rng.sample(ADJECTIVES, 2)
        top = say(rng, first, a=a)
        lines += [f"{top},", f"{say(rng, second, a=a, b=b)}."]
    return "\n".join(lines)


def story(rng: Random) -> list[Message]:
    """Tell a story, about anything, a hero or a named hero."""
    kind = rng.random()
    hero, name = rng.choice(HEROES), person(rng)
    if rng.random() < 0.1:
        hero = coined(rng, 1, 3)
    tell = (
        "{tell me|write|write me|i want to hear|can you tell me|can you write|make up|invent|give"
        " me|read me|please tell me|could you tell}"
    )
    what = (
        "{a story|a short story|a bedtime story|a fairy tale|a little story|a tale|a nice story|a"
        " long story}"
    )
    if kind < 0.3:
        prompt = ask(rng, tell + " " + what + ".")
    elif kind < 0.7:
        prompt = ask(
            rng,
            f"{tell} {what} " + "about {[hero_a]|[hero_a]|a [adj] [hero]}.",
            hero_a=article(hero),
            hero=hero,
            adj=rng.choice(ADJECTIVES),
        )
    elif kind < 0.85:
        prompt = ask(
            rng,
            f"{tell} {what} " + "about [hero_a] {named|called} [name].",
            hero_a=article(hero),
            name=name,
        )
    else:
        prompt = ask(
            rng,
            f"{tell} {what} " + "about {[name]|someone named [name]|someone called [name]}.",
            name=name,
        )
    return turn(prompt, story_text(rng, hero, name))


def paragraph(rng: Random) -> list[Message]:
    """Write about a topic."""
    topic = (
        rng.choice(list(TOPICS))
        if rng.random() < 0.88
        else coined(rng, 2, 3) + rng.choice(["s", "", ""])
    )
    prompt = ask(
        rng,
        "{write|write me|can you write|give me|compose|i need|could you write|please write} {a"
        " paragraph|a short paragraph|a text|a short text|a few sentences|some sentences|a short"
        " essay|something|a few lines|a long text} {about|on|about the topic of|about the subject"
        " of} [topic].|{tell me something|tell me more|talk|say something|what can you tell me|tell"
        " me a bit|describe what you know} about [topic].".join(("{", "}")),
        topic=topic,
    )
    return turn(prompt, paragraph_text(rng, topic))


def poem(rng: Random) -> list[Message]:
    """Write a poem."""
    prompt = ask(
        rng,
        "{write|write me|tell me|give me|can you write|compose|recite|make} {a poem|a short poem|a"
        " haiku|a little poem|a rhyme|some verses|a poem that rhymes}{| about {nature|the night|a"
        " river|anything|the wind|the moon}}.",
    )
    return turn(prompt, poem_text(rng))
