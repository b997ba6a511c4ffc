"""The mix: an endless, seeded stream of dialogues that never asks what the evaluation asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from . import calls, facts, memory, outside, persona, reading, smalltalk, stories, sums, tasks
from .dialogue import Dialogue, Message, normal_form

EVALUATION = Path(__file__).parents[1] / "eval"
Skill = Callable[[Random], list[Message]]

SKILLS: list[tuple[str, Skill, float]] = [  # kind, maker, share of turns
    ("talk", smalltalk.small_talk, 9),
    ("talk", smalltalk.gibberish, 0.6),
    ("unknown", outside.unknown, 5),
    ("service", facts.service, 17),
    ("fact", facts.common, 20),
    ("fact", facts.capitals_in_turn, 2),
    ("sum", sums.arithmetic, 9),
    ("advice", facts.advice, 1.5),
    ("code", facts.code, 1.2),
    ("task", tasks.count, 3.5),
    ("task", tasks.listing, 5),
    ("task", tasks.repeat, 6),
    ("task", tasks.copy, 14),
    ("task", tasks.spell, 3),
    ("task", reading.as_json, 3),
    ("task", tasks.sentence, 2.5),
    ("task", tasks.series, 2),
    ("task", tasks.naming, 0.6),
    ("memory", memory.not_told, 1),
    ("memory", reading.from_text, 5),
    ("story", stories.story, 4),
    ("story", stories.paragraph, 3),
    ("story", stories.poem, 1.2),
]
_WEIGHTS = [share for _, _, share in SKILLS]
_QUICK = [
    facts.common,
    facts.service,
    sums.arithmetic,
    smalltalk.small_talk,
    smalltalk.small_talk,
    tasks.listing,
]


def filler(rng: Random) -> list[Message]:
    """A short turn about something else."""
    return rng.choice(_QUICK)(rng)


def chat(rng: Random) -> Dialogue:
    """One to five turns of any skills."""
    turns = rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8))
    chosen = rng.choices(SKILLS, _WEIGHTS, k=turns)
    messages = [message for _, make, _ in chosen for message in make(rng)]
    if turns > 1 and rng.random() < 0.2:
        messages = (
            smalltalk.turn(
                smalltalk.ask(rng, smalltalk.GREET), smalltalk.say(rng, smalltalk.GREETING)
            )
            + messages
        )
    return Dialogue(chosen[0][0], messages)


def plain(rng: Random) -> Dialogue:
    """Text without a chat: some answers on their own, one after the other."""
    makers = (stories.story, stories.paragraph, facts.common, facts.common, facts.service)
    texts = [rng.choice(makers)(rng)[1].text for _ in range(rng.randint(1, 3))]
    return Dialogue("plain", [], plain=" ".join(texts))


def draw(rng: Random) -> Dialogue:
    """Any dialogue at all, held out or not."""
    pick = rng.random()
    if pick < 0.38:
        dialogue = chat(rng)
    elif pick < 0.53:
        dialogue = Dialogue("memory", memory.memory(rng, filler))
    elif pick < 0.90:
        return calls.call(rng, filler)
    elif pick < 0.925:
        return persona.named(rng, filler)
    elif pick < 0.94:
        return persona.briefed(rng, filler)
    elif pick < 0.975:
        return persona.one_word(rng)
    elif pick < 0.985:
        return plain(rng)
    else:
        return persona.ruled(rng)
    if rng.random() < 0.3:
        dialogue.system = persona.plain(rng)
    return dialogue


def held_out(folder: Path = EVALUATION) -> frozenset[str]:
    """Normal forms of everything a user says in the frozen evaluation."""
    texts: set[str] = set()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            texts |= {normal_form(m["content"]) for m in item["messages"] if m["role"] == "user"}
    return frozenset(texts)


def dialogues(seed: int, excluded: frozenset[str] | None = None) -> Iterator[Dialogue]:
    """The endless stream of one seed, without any dialogue that holds an evaluation prompt."""
    rng = Random(seed)
    kept_out = held_out() if excluded is None else excluded
    while True:
        dialogue = draw(rng)
        if not any(normal_form(text) in kept_out for text in dialogue.user_texts()):
            yield dialogue
