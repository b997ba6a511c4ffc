"""Short exact tasks: count, list, repeat, spell, write in a given number of words."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, choose, say
from .phrasebook import rows
from .words import (
    ADJECTIVES,
    ANIMALS,
    FOODS,
    FRUITS,
    GROUPS,
    JOBS,
    NAMES,
    NOUNS,
    NUMBERS,
    THINGS,
    article,
    coined,
    word,
    words,
)

SERIES: list[tuple[str, str]] = rows("series", "ask", "answer")


def _number(rng: Random, value: int) -> str:
    return NUMBERS[value] if value <= 20 and rng.random() < 0.5 else str(value)


def count(rng: Random) -> list[Message]:
    """Count up or down."""
    separator, end = rng.choice(((", ", "."), (", ", "."), (" ", "")))
    draw = rng.random()
    if draw < 0.55:
        low, high = 1, rng.randint(2, 20) if rng.random() < 0.85 else rng.randint(21, 40)
        prompt = ask(
            rng,
            "{count to|count up to|please count to|can you count to|count from 1 to|count from one"
            " to|numbers from 1 to|give me the numbers up to|write the numbers from 1 to|list the"
            " numbers from 1 to} [n].",
            n=_number(rng, high),
        )
        numbers = range(low, high + 1)
    elif draw < 0.8:
        low = rng.randint(0, 30)
        high = low + rng.randint(2, 10)
        prompt = ask(
            rng,
            "{count from|please count from|can you count from|list the numbers from|write the"
            " numbers from} [a] to [b].",
            a=low,
            b=high,
        )
        numbers = range(low, high + 1)
    else:
        high = rng.randint(3, 15)
        prompt = ask(
            rng,
            "{count down from|count backwards from|countdown from|please count down from} [n]{| to"
            " 1| to one}.",
            n=_number(rng, high),
        )
        numbers = range(high, 0, -1)
    return turn(prompt, ", ".join(map(str, numbers)) + "." if separator else end)


def listing(rng: Random) -> list[Message]:
    """Name so many of a kind."""
    group = rng.choice(list(GROUPS))
    size = rng.randint(1, 6)
    if size == 1:
        group_one = {
            "fruits": "fruit",
            "animals": "animal",
            "colours": "colour",
            "trees": "tree",
            "cities": "city",
        }
        group, single = rng.choice(list(group_one.items()))
        prompt = ask(rng, "{name|tell me|give me|say} {a|one} [g].", g=single)
        return turn(prompt, rng.choice(GROUPS[group]).capitalize() + ".")
    chosen = rng.sample(GROUPS[group], size)
    style = rng.random()
    how = (
        "{name|list|tell me|give me|say|write|can you list|can you name|i need|think of|please"
        " list|could you give me}"
    )
    if style < 0.55:
        prompt = ask(rng, how + " [n] [g].", n=_number(rng, size), g=group)
        text = ", ".join(chosen[:-1]) + " and " + chosen[-1] + "."
        return turn(prompt, text[0].upper() + text[1:])
    if style < 0.8:
        prompt = ask(
            rng,
            how
            + " [n] [g] {as a list|as bullet points|in a bullet list|with bullets|one per line}.",
            n=_number(rng, size),
            g=group,
        )
        return turn(prompt, "\n".join(f"- {item}" for item in chosen))
    prompt = ask(
        rng,
        how + " [n] [g] {as a numbered list|in a numbered list|numbered|with numbers}.",
        n=_number(rng, size),
        g=group,
    )
    return turn(prompt, "\n".join(f"{i}. {item}" for i, item in enumerate(chosen, 1)))


REPEAT = (
    "{repeat after me:|repeat:|say:|please repeat:|repeat this:|say the words|echo:|copy"
    " this:|write exactly:|say exactly:|say|repeat the following:|repeat after me,|answer"
    " with|reply with|just say|repeat the words|type:|please say|can you say|repeat|please answer"
    " with}"
)


def repeat(rng: Random) -> list[Message]:
    """Say it back, once or several times."""
    text = words(rng, 1, 7)
    draw = rng.random()
    if draw < 0.2:
        text = text.capitalize()
    elif draw < 0.3:
        text = f"{text} {rng.randint(0, 999)}"
    if rng.random() < 0.25:
        times = rng.randint(2, 5)
        one = word(rng)
        prompt = ask(rng, "{say|repeat|write} [w] [n] times.", w=one, n=_number(rng, times))
        return turn(prompt, " ".join([one] * times))
    quote = rng.choice(("", "", '"', "'"))
    start = choose(rng, REPEAT)
    start = start if rng.random() < 0.4 else start.capitalize()
    return turn(f"{start} {quote}{text}{quote}", text)


def copy(rng: Random) -> list[Message]:
    """Say a long run of words back: dense practice in copying, which names and calls rest on."""
    count = rng.randint(4, 20)
    text = " ".join(coined(rng, 1, 3) if rng.random() < 0.7 else word(rng) for _ in range(count))
    if rng.random() < 0.3:
        text = text.title()
    elif rng.random() < 0.2:
        text += f" {rng.randint(0, 99999)} {rng.randint(0, 99999)}"
    start = choose(
        rng, "{Copy this text exactly:|Repeat this list:|Copy:|Repeat after me:|Repeat:}"
    )
    return turn(f"{start} {text}", text)


SPELLABLE = sorted({w for w in NOUNS + THINGS + ANIMALS + FRUITS + FOODS if w.isalpha()})


def spell(rng: Random) -> list[Message]:
    """Letters of a common word: spelled, counted, first and last."""
    one = rng.choice(SPELLABLE)
    draw = rng.random()
    if draw < 0.6:
        prompt = ask(
            rng,
            "{spell|how do you spell|can you spell|please spell|spell the word|spell out|how is the"
            " word [w] spelled:} [w].".replace("|how is the word [w] spelled:", ""),
            w=one,
        )
        return turn(prompt, "-".join(one.upper()))
    if draw < 0.8:
        prompt = ask(
            rng,
            "{how many letters does [w] have|how many letters are in [w]|how long is the word"
            " [w]}?",
            w=one,
        )
        return turn(prompt, f"The word {one} has {len(one)} letters.")
    first = draw < 0.9
    prompt = ask(
        rng, "what is the [f] letter of {|the word }[w]?", f="first" if first else "last", w=one
    )
    return turn(
        prompt,
        f"The {'first' if first else 'last'} letter of {one} is {one[0 if first else -1].upper()}.",
    )


def sentence(rng: Random) -> list[Message]:
    """A sentence with a given word, or with a given number of words."""
    adjective, animal, thing = rng.choice(ADJECTIVES), rng.choice(ANIMALS), rng.choice(NOUNS)
    if rng.random() < 0.5:
        noun = rng.choice(THINGS + NOUNS + ANIMALS) if rng.random() < 0.7 else word(rng)
        prompt = ask(
            rng,
            "{write|make|form|give me|say} a sentence {with|using|that has|containing} {the word"
            " |}[w].|{use|put} {the word |}[w] in a sentence.".join(("{", "}")),
            w=noun,
        )
        return turn(
            prompt,
            say(
                rng,
                "{The [a] found a [w] by the river.|I saw [aw] this morning and smiled.|We talked"
                " about the [w] all evening.|There was a [w] in front of the old mill.}",
                a=rng.choice(JOBS),
                w=noun,
                aw=article(noun),
            ),
        )
    size = rng.randint(2, 7)
    text = {
        2: "[x]s sleep",
        3: "The [x] sleeps",
        4: "The [a] [x] sleeps",
        5: "The [a] [x] sleeps quietly",
        6: "The [a] [x] dreams of {snow|rain|summer|music}",
        7: "The [a] [x] looks at the [t] again",
    }[size]
    prompt = ask(
        rng,
        "{say something in|write a sentence of|write a sentence with|give me a sentence"
        " with|describe something in|make a sentence with|answer in} {exactly |}[n] words.",
        n=_number(rng, size),
    )
    answer = say(rng, text, a=adjective, x=animal if size > 2 else "bird", t=thing)
    return turn(prompt, answer[0].upper() + answer[1:] + ".")


def series(rng: Random) -> list[Message]:
    """The alphabet, days, months, even numbers, the seasons."""
    question, answer = rng.choice(SERIES)
    return turn(ask(rng, question + "."), answer)


def naming(rng: Random) -> list[Message]:
    """Suggest a name."""
    pet = rng.choice(ANIMALS)
    prompt = ask(
        rng,
        "{suggest a name for|give me a name for|what should i call|find a name for|i need a name"
        " for} {my|a|our} {[p]|new [p]|[p]|baby|boat|robot}.",
        p=pet,
    )
    return turn(
        prompt, say(rng, "{How about|You could choose|What about} [n]?", n=rng.choice(NAMES))
    )
