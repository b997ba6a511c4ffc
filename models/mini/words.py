"""Word lists, and a maker of words that no list holds, so that copying is learned as copying."""

from __future__ import annotations

from random import Random


def _list(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


NAMES = _list(
    """
    Anna Ben Carla David Elena Felix Grace Hugo Iris Jonas Karin Leo Maria Nina Oscar Paula
    Quentin Rosa Samuel Tina Uma Victor Wanda Xavier Yara Zoe Alice Bruno Clara Daniel Emma
    Fatima George Hannah Ivan Julia Kofi Lena Marco Noor Olga Pedro Ravi Sofia Tom Ursula
    Vera Wei Yuki Adam Bella Carlos Diana Erik Fiona Gita Henry Ines Jack Kate Liam Mila
    Noah Otto Petra Ruth Simon Theo Lucy Max Mia Sara Peter John Mary James Linda Robert
    Susan Michael Karen Ahmed Aisha Chen Mei Hiro Priya Arjun Omar Layla Nadia Stefan Ingrid
    Lars Sven Astrid Mateo Camila Diego Lucia
    """
)

CITIES = _list(
    """
    Paris London Berlin Madrid Rome Vienna Oslo Helsinki Dublin Lisbon Prague Warsaw Athens
    Tokyo Beijing Delhi Cairo Nairobi Lagos Lima Bogota Toronto Boston Chicago Seattle
    Denver Austin Miami Sydney Auckland Seoul Bangkok Hanoi Jakarta Manila Dubai Istanbul
    Zurich Geneva Munich Hamburg Milan Naples Lyon Porto Seville Bergen Malmo Ghent Krakow
    Budapest Sofia Riga Vilnius Tallinn Montreal Vancouver Singapore Mumbai Osaka Kyoto
    Dallas Houston Phoenix Portland Havana Quito Santiago Stockholm Amsterdam Brussels
    Copenhagen
    """
)

COLOURS = _list(
    """
    red blue green yellow purple orange black white brown pink grey turquoise violet gold
    """
)
ANIMALS = _list(
    """
    cat dog fox owl bear mouse rabbit horse duck frog hedgehog otter squirrel crow deer goat
    turtle lion tiger elephant whale dolphin penguin parrot snake wolf sheep cow bee ant
    spider robin
    """
)
FRUITS = _list(
    """
    apple banana cherry grape lemon mango orange peach pear plum kiwi melon strawberry
    blueberry apricot fig
    """
)
VEGETABLES = _list(
    """
    carrot potato onion tomato cabbage spinach pea bean pepper cucumber beetroot leek
    """
)
TOOLS = _list("hammer saw screwdriver drill wrench chisel file pliers ladder shovel")
FURNITURE = _list("table chair bed sofa shelf desk stool wardrobe lamp bench")
DRINKS = _list("water tea coffee juice milk lemonade cocoa cider soda")
SPORTS = _list("football tennis swimming cycling running rowing chess basketball hockey climbing")
INSTRUMENTS = _list("piano violin guitar flute drum trumpet cello harp clarinet organ")
COUNTRIES = _list(
    """
    France Germany Spain Italy Japan China India Brazil Canada Egypt Kenya Norway Peru
    """
)
TREES = _list("oak beech birch pine maple willow ash elm spruce chestnut")
FLOWERS = _list("rose tulip daisy lily sunflower poppy violet daffodil orchid lavender")
PLANETS = _list("Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune")
JOBS = _list(
    """
    teacher nurse baker farmer pilot gardener carpenter doctor painter engineer cook driver
    librarian musician lawyer dentist student writer plumber programmer scientist sailor
    miller
    """
)
FOODS = _list(
    """
    pizza pasta soup rice bread curry salad sushi pancakes cheese tacos dumplings noodles
    """
)
HOBBIES = _list(
    """
    reading painting hiking cooking chess gardening swimming knitting cycling fishing
    singing dancing photography baking running
    """
)
THINGS = _list(
    """
    book lamp key clock boat bridge window garden letter map bell lantern wheel stone coat
    basket bottle mirror kite drum box cup chair door hat rope ladder bucket candle ring
    """
)
ADJECTIVES = _list(
    """
    small old quiet bright brave clever gentle happy kind lazy lonely proud shy tired young
    busy calm curious funny green grey honest hungry patient red silver strange tall tiny
    wise
    """
)
NOUNS = _list(
    """
    river mill water house tree road hill wind rain snow sun moon star night morning winter
    summer spring village town city field forest sea island mountain lake bird fish child
    friend king queen sailor farmer baker miller market school train ship wagon music song
    story dream
    """
)
VERBS = _list("get set find make start stop open check send update delete create list show run")
KEYS = _list(
    "size name color id label code kind mode target speed weight title note level owner date"
)
GROUPS: dict[str, list[str]] = {
    "fruits": FRUITS,
    "vegetables": VEGETABLES,
    "animals": ANIMALS,
    "colours": COLOURS,
    "colors": COLOURS,
    "tools": TOOLS,
    "pieces of furniture": FURNITURE,
    "drinks": DRINKS,
    "sports": SPORTS,
    "musical instruments": INSTRUMENTS,
    "instruments": INSTRUMENTS,
    "countries": COUNTRIES,
    "trees": TREES,
    "flowers": FLOWERS,
    "planets": PLANETS,
    "jobs": JOBS,
    "foods": FOODS,
    "hobbies": HOBBIES,
    "cities": CITIES,
    "names": NAMES,
}
NUMBERS = _list(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty
    """
)

_OPENERS = _list("b br c ch cl d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z")
_VOWELS = _list("a e i o u a e i o ai ea ee ou oo ia")
_CLOSERS = ["", "", "", "n", "r", "l", "s", "t", "m", "k", "nd", "rt", "x", "ll", "ck", "sh"]


def coined(rng: Random, least: int = 1, most: int = 3) -> str:
    """A made-up lower-case word of a few syllables."""
    count = rng.randint(least, most)
    parts = [
        rng.choice(_OPENERS) + rng.choice(_VOWELS) + rng.choice(_CLOSERS) for _ in range(count)
    ]
    return "".join(parts)


def person(rng: Random) -> str:
    """A first name, often a coined one."""
    if rng.random() < 0.5:
        return rng.choice(NAMES)
    name = coined(rng, 1, 3)
    return name if rng.random() < 0.1 else name.capitalize()


def city(rng: Random) -> str:
    """A town, sometimes a coined one."""
    return rng.choice(CITIES) if rng.random() < 0.6 else coined(rng, 2, 3).capitalize()


def word(rng: Random) -> str:
    """Any lower-case word."""
    pools = (NOUNS, THINGS, ADJECTIVES, ANIMALS, FRUITS, HOBBIES, FOODS, COLOURS)
    return coined(rng) if rng.random() < 0.35 else rng.choice(rng.choice(pools))


def words(rng: Random, least: int, most: int) -> str:
    """A run of words."""
    return " ".join(word(rng) for _ in range(rng.randint(least, most)))


def article(noun: str) -> str:
    """The noun with a or an."""
    vowel = noun[0].lower() in "aeiou" and not noun.startswith("uni")
    return ("an " if vowel else "a ") + noun
