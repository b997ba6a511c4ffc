"""Common facts as closed lists: capitals, opposites, colours, sounds, numbers and more."""

from __future__ import annotations

from .phrasebook import rows


def _pairs(text: str) -> dict[str, str]:
    """`a:b, c:d` as a dictionary."""
    items = " ".join(text.split()).split(", ")
    return dict(item.split(":") for item in items)


CAPITALS = _pairs(
    """
    France:Paris, Germany:Berlin, Spain:Madrid, Italy:Rome, Portugal:Lisbon, Austria:Vienna,
    Switzerland:Bern, Belgium:Brussels, the Netherlands:Amsterdam, Denmark:Copenhagen,
    Sweden:Stockholm, Norway:Oslo, Finland:Helsinki, Iceland:Reykjavik, Ireland:Dublin, the
    United Kingdom:London, England:London, Scotland:Edinburgh, Poland:Warsaw,
    Hungary:Budapest, Greece:Athens, Turkey:Ankara, Russia:Moscow, Ukraine:Kyiv,
    Romania:Bucharest, Bulgaria:Sofia, Croatia:Zagreb, Estonia:Tallinn, Latvia:Riga,
    Egypt:Cairo, Kenya:Nairobi, Nigeria:Abuja, Morocco:Rabat, Ethiopia:Addis Ababa,
    Ghana:Accra, Japan:Tokyo, China:Beijing, India:New Delhi, South Korea:Seoul,
    Thailand:Bangkok, Vietnam:Hanoi, Indonesia:Jakarta, the Philippines:Manila,
    Pakistan:Islamabad, Iran:Tehran, Iraq:Baghdad, Israel:Jerusalem, Australia:Canberra, New
    Zealand:Wellington, Canada:Ottawa, the United States:Washington D.C., the USA:Washington
    D.C., Mexico:Mexico City, Cuba:Havana, Brazil:Brasilia, Argentina:Buenos Aires,
    Chile:Santiago, Peru:Lima, Colombia:Bogota
    """
)

CONTINENTS = _pairs(
    """
    France:Europe, Germany:Europe, Spain:Europe, Italy:Europe, Norway:Europe, Poland:Europe,
    Greece:Europe, Egypt:Africa, Kenya:Africa, Nigeria:Africa, Ghana:Africa, Morocco:Africa,
    Japan:Asia, China:Asia, India:Asia, Thailand:Asia, Vietnam:Asia, Iran:Asia, Canada:North
    America, Mexico:North America, Cuba:North America, Brazil:South America, Argentina:South
    America, Chile:South America, Peru:South America
    """
)

LANGUAGES = _pairs(
    """
    France:French, Germany:German, Spain:Spanish, Italy:Italian, Portugal:Portuguese,
    Austria:German, Denmark:Danish, Sweden:Swedish, Norway:Norwegian, Finland:Finnish,
    Poland:Polish, Greece:Greek, Turkey:Turkish, Russia:Russian, Japan:Japanese,
    China:Chinese, South Korea:Korean, Thailand:Thai, Vietnam:Vietnamese, Brazil:Portuguese,
    Mexico:Spanish, Argentina:Spanish, Egypt:Arabic, Israel:Hebrew, England:English
    """
)

OPPOSITES = _pairs(
    """
    hot:cold, big:small, tall:short, fast:slow, up:down, left:right, day:night, light:dark,
    open:closed, full:empty, hard:soft, heavy:light, high:low, old:young, new:old,
    rich:poor, happy:sad, good:bad, early:late, wet:dry, clean:dirty, strong:weak,
    loud:quiet, near:far, first:last, inside:outside, true:false, yes:no, black:white,
    thick:thin, wide:narrow, deep:shallow, sweet:sour, smooth:rough, sharp:blunt,
    easy:difficult, alive:dead, brave:cowardly, begin:end, buy:sell, give:take, push:pull,
    win:lose, love:hate, remember:forget, summer:winter, north:south, east:west,
    always:never, above:below
    """
)

COLOURS_OF = _pairs(
    """
    the sky:blue, grass:green, snow:white, coal:black, a banana:yellow, blood:red, a
    lemon:yellow, a strawberry:red, the sea:blue, chocolate:brown, a carrot:orange, an
    orange:orange, milk:white, a tomato:red, a cucumber:green, the sun:yellow, an
    elephant:grey, a flamingo:pink, a crow:black, a sunflower:yellow, an emerald:green, a
    ruby:red, a polar bear:white, a pea:green, charcoal:black
    """
)

SOUNDS = _pairs(
    """
    dog:woof, cat:meow, cow:moo, sheep:baa, duck:quack, horse:neigh, pig:oink, lion:roar,
    frog:ribbit, rooster:cock-a-doodle-doo, bee:buzz, snake:hiss, owl:hoot, mouse:squeak,
    wolf:howl
    """
)

YOUNG = _pairs(
    """
    dog:puppy, cat:kitten, cow:calf, sheep:lamb, horse:foal, pig:piglet, duck:duckling,
    hen:chick, bear:cub, lion:cub, goat:kid, deer:fawn, frog:tadpole, swan:cygnet,
    goose:gosling, kangaroo:joey
    """
)

COUNTS = _pairs(
    """
    days are in a week:7, hours are in a day:24, minutes are in an hour:60, seconds are in a
    minute:60, months are in a year:12, days are in a year:365, weeks are in a year:52,
    letters are in the alphabet:26, legs does a spider have:8, legs does a dog have:4, legs
    does an ant have:6, legs does a bird have:2, arms does an octopus have:8, sides does a
    triangle have:3, sides does a square have:4, sides does a hexagon have:6, sides does a
    pentagon have:5, continents are there:7, planets are in the solar system:8, strings does
    a violin have:4, strings does a guitar have:6, fingers does a person have:10, seasons
    are in a year:4, wheels does a car have:4, wheels does a bicycle have:2, eggs are in a
    dozen:12, years are in a century:100, years are in a decade:10, grams are in a
    kilogram:1000, metres are in a kilometre:1000, centimetres are in a metre:100, bits are
    in a byte:8, players are in a football team:11, squares are on a chessboard:64, colours
    are in a rainbow:7
    """
)

SYMBOLS = _pairs(
    """
    hydrogen:H, oxygen:O, carbon:C, nitrogen:N, gold:Au, silver:Ag, iron:Fe, copper:Cu,
    sodium:Na, helium:He, water:H2O, salt:NaCl, lead:Pb, calcium:Ca
    """
)

SINGLES: list[tuple[str, str, str]] = rows("questions", "ask", "short", "full")
ADVICE: list[tuple[str, str]] = rows("advice", "ask", "answer")
CODE: list[tuple[str, str]] = rows("code", "ask", "answer")
