"""Being told things and saying them back later: names, ages, pets, places, and honest "not told yet"."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .words import (ANIMALS, CITIES, COLOURS, FOODS, FRUITS, HOBBIES, INSTRUMENTS, JOBS, SPORTS, article,
                    city, coined, person, word)  # fmt: skip

Filler = Callable[[Random], list[Message]]
PET = "dog cat rabbit horse parrot turtle hamster goldfish snake".split()

# key: (how the user tells it, how it is acknowledged, how it is asked back, how it is answered)
TOLD: dict[str, tuple[str, str, str, str]] = {
    "name": ("{my name is|i am|i'm|call me|my name's|people call me|you can call me|hi, i am|hello, my name is|i am called|hey, i'm|this is|the name is} [v].",
             "{Nice to meet you, [v]!|Hello, [v]!|Hello, [v]! How can I help you?|Nice to meet you, [v]. What can I do for you?}",
             "{what is my name|what's my name|do you know my name|do you remember my name|who am i|what am i called|tell me my name|can you say my name|what name did i give you|say my name|did i tell you my name}?", "Your name is [v]."),
    "age": ("{i am [v] years old|i'm [v] years old|my age is [v]|i just turned [v]|i am [v]}.", "{Good to know: you are [v].|[v] is a fine age.}",
            "{how old am i|what is my age|do you remember how old i am|what's my age|tell me my age}?", "You are [v] years old."),
    "city": ("{i live in|i am from|my home is in|i come from|i'm from|my city is|i moved to} [v].", "{[v] sounds like a good place.|Thank you for telling me that you are from [v].}",
             "{where do i live|where am i from|which city do i live in|what city am i from|do you remember where i live|where is my home}?", "You told me that it is [v]."),
    "colour": ("{my favourite colour is|my favorite color is|the colour i like best is|my best colour is|i like the colour} [v].", "{[v] is a nice colour.|I will remember that you like [v].}",
               "{what is my favourite colour|what's my favorite color|which colour do i like|do you remember my favourite colour|what colour do i like best}?", "Your favourite colour is [v]."),
    "pet": ("{my [k] is called|my [k]'s name is|i have a [k] named|i have a [k] called|i named my [k]} [v].", "{[v] is a lovely name for a [k].|Give [v] my greetings!}",
            "{what is my [k] called|what's my [k]'s name|what is the name of my [k]|do you remember the name of my [k]|how is my [k] called}?", "Your [k] is called [v]."),
    "job": ("{i work as [av]|i am [av]|my job is [v]|i'm [av]|i work as [av] in town}.", "{That is good work.|[v] is a useful job.}",
            "{what is my job|what do i do for a living|what's my job|do you remember my job|what do i work as|what is my profession}?", "You work as [av]."),
    "food": ("{my favourite food is|my favorite food is|i love to eat|the food i like best is|i like to eat} [v].", "{[v] is tasty.|I will remember that you like [v].}",
             "{what is my favourite food|what's my favorite food|what do i like to eat|do you remember my favourite food|which food do i like}?", "Your favourite food is [v]."),
    "hobby": ("{my hobby is|i love|in my free time i like|i enjoy|i like} [v].", "{[v] is a good way to spend time.|That sounds nice.}",
              "{what is my hobby|what do i like to do|what's my hobby|do you remember my hobby|what do i enjoy}?", "You like [v]."),
    "friend": ("{my best friend is|my best friend is called|my friend's name is|i have a friend named|i have a friend called} [v].", "{I am glad that you have a friend like [v].|Greetings to [v]!}",
               "{what is my friend called|who is my best friend|what is my friend's name|do you remember my friend's name|who is my friend}?", "Your friend is called [v]."),
    "sister": ("{my sister is called|my sister's name is|i have a sister named|my sister is} [v].", "{[v] is a nice name.|Greetings to [v]!}",
               "{what is my sister called|what is my sister's name|who is my sister|do you remember my sister's name}?", "Your sister is called [v]."),
    "number": ("{remember the number|my lucky number is|my favourite number is|please remember the number|the number is|keep in mind the number} [v].", "{I will remember [v].|All right: [v].}",
               "{what was the number|what is my number|which number did i tell you|what number did i say|what is my lucky number|do you remember the number}?", "The number is [v]."),
    "secret": ("{the password is|the secret word is|the code word is|remember the word|the magic word is|my secret word is|please remember this word:} [v].", "{I will remember it.|All right, I have noted it.|Got it.}",
               "{what is the password|what was the secret word|what is the code word|which word did i tell you|what was the word|what is the magic word|tell me the secret word}?", "The word is [v]."),
    "order": ("{i want to buy|i need to buy|i have to buy|on my list is|i must not forget} [v].", "{I will remind you of [v].|Noted: [v].}",
              "{what do i want to buy|what do i need to buy|what is on my list|what did i want to buy|what must i not forget}?", "You want to buy [v]."),
}  # fmt: skip
NOT_TOLD = {
    "name": "your name", "age": "your age", "city": "where you live", "colour": "your favourite colour",
    "pet": "that", "job": "your job", "food": "your favourite food", "hobby": "your hobby",
    "friend": "your friend's name", "sister": "your sister's name", "number": "a number", "secret": "a word",
    "order": "what you want to buy",
}  # fmt: skip


def value(rng: Random, key: str) -> str:
    """Something to be told; often a coined word, so that only copying can bring it back."""
    match key:
        case "name" | "friend" | "sister":
            return person(rng) if rng.random() < 0.9 else f"{person(rng)} {coined(rng, 2, 2).capitalize()}"
        case "pet":
            return person(rng) if rng.random() < 0.6 else word(rng).capitalize()
        case "age":
            return str(rng.randint(5, 99))
        case "number":
            return str(rng.choice((rng.randint(1, 99), rng.randint(100, 99999))))
        case "city":
            return city(rng)
        case "colour":
            return rng.choice(COLOURS)
        case "job":
            return rng.choice(JOBS)
        case "food":
            return rng.choice(FOODS + FRUITS) if rng.random() < 0.8 else coined(rng, 2, 3)
        case "hobby":
            return rng.choice(HOBBIES + SPORTS + [f"playing the {i}" for i in INSTRUMENTS])
        case "order":
            return " and ".join(rng.sample(FRUITS + FOODS + ["a " + a for a in ("lamp", "book", "coat")], rng.randint(1, 2)))  # fmt: skip
        case _:
            return word(rng) if rng.random() < 0.6 else coined(rng, 2, 3)


def slots(rng: Random, key: str) -> dict[str, object]:
    """Values for the phrases of one thing told."""
    told = value(rng, key)
    return {"v": told, "av": article(told), "k": rng.choice(PET)}


def capital(text: str) -> str:
    """The text with its first letter capital."""
    return text[:1].upper() + text[1:]


def memory(rng: Random, filler: Filler) -> list[Message]:
    """Tell one to three things, talk of something else, ask some of them back."""
    keys = rng.sample(list(TOLD), rng.choice((1, 1, 2, 2, 3)))
    if "age" in keys and "number" in keys:
        keys.remove("number")
    facts = {key: slots(rng, key) for key in keys}
    messages: list[Message] = []
    todo = list(keys)
    while todo:
        key = todo.pop(0)
        told = ask(rng, TOLD[key][0], **facts[key])
        answer = capital(say(rng, TOLD[key][1], **facts[key]))
        if todo and rng.random() < 0.35:
            other = todo.pop(0)
            told = told.rstrip("?!. ") + rng.choice((" and ", ", and ", ". ", ", ")) + ask(rng, TOLD[other][0], **facts[other])  # fmt: skip
            if rng.random() < 0.5 and "name" not in (key, other):
                answer = say(rng, "{Thank you for telling me.|I will remember that.|Got it.}")
        messages += turn(told, answer)
        if rng.random() < 0.25:
            messages += filler(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        messages += filler(rng)
    rng.shuffle(keys)
    for key in keys:
        messages += turn(ask(rng, TOLD[key][2], **facts[key]), capital(say(rng, TOLD[key][3], **facts[key])))
    if rng.random() < 0.2:
        messages += not_told(rng, [k for k in TOLD if k not in keys])
    return messages


def not_told(rng: Random, keys: list[str] | None = None) -> list[Message]:
    """Asked for something that was never told."""
    key = rng.choice(keys or ["name", "name", "name", *TOLD])
    prompt = ask(rng, TOLD[key][2], **slots(rng, key))
    return turn(prompt, say(rng, "{You have not told me [w] yet.|I do not know, you have not told me [w] yet.}", w=NOT_TOLD[key]))  # fmt: skip


def from_text(rng: Random) -> list[Message]:
    """Read a small text and answer about it."""
    who, other = person(rng), person(rng)
    place, thing, animal = city(rng), word(rng), rng.choice(ANIMALS)
    time, colour, amount = rng.randint(1, 12), rng.choice(COLOURS), rng.randint(2, 90)
    rows = [
        ("[who] lives in [place].", "{where does [who] live|in which city does [who] live|what is the home of [who]}", "[who] lives in [place]."),
        ("[who] has [amount] [animal]s.", "{how many [animal]s does [who] have|what is the number of [animal]s}", "[who] has [amount] [animal]s."),
        ("[who] bought a [colour] [thing].", "{what did [who] buy|what was bought}", "[who] bought a [colour] [thing]."),
        ("[who] met [other] at [time].", "{who did [who] meet|whom did [who] meet}", "[who] met [other]."),
        ("The train to [place] leaves at [time].", "{when does the train leave|when does the train to [place] leave|at what time does the train go}", "The train leaves at [time]."),
        ("The [animal] is called [other].", "{what is the [animal] called|what is the name of the [animal]}", "The [animal] is called [other]."),
        ("The [thing] costs [amount] euros.", "{how much does the [thing] cost|what is the price of the [thing]}", "The [thing] costs [amount] euros."),
    ]  # fmt: skip
    values: dict[str, object] = {"who": who, "other": other, "place": place, "thing": thing,
                                 "animal": animal, "time": time, "colour": colour, "amount": amount}  # fmt: skip
    chosen = rng.sample(rows, rng.randint(1, 3))
    text = say(rng, " ".join(row[0] for row in chosen), **values)
    _, question, answer = rng.choice(chosen)
    asked = ask(rng, question + "?", **values)
    if rng.random() < 0.5:
        prompt = f"{text}{rng.choice((' ', chr(10)))}{asked}"
    else:
        prompt = say(rng, "{Read this|Here is a text|Text}:") + f" {text} {asked}"
    return turn(prompt, capital(say(rng, answer, **values)))
