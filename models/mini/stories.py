"""Stories, paragraphs and poems from a grammar: fluent text of some sixty to two hundred tokens."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .words import ADJECTIVES, ANIMALS, JOBS, THINGS, article, coined, person

HEROES = [*ANIMALS, *JOBS, "robot", "unicorn", "king", "queen", "giant", "witch", "boy", "girl", "dragon", "ghost", "knight", "princess", "wizard", "cloud", "train", "lighthouse", "computer", "snowman", "child"]  # fmt: skip

START = [
    "Once upon a time, [hero_a] named [name] lived {beside a river|at the edge of a forest|in a small village|near an old mill|on a windy hill|by the sea}.",
    "There once was [hero_a] called [name] who lived {in a quiet valley|near the sea|under a tall oak|in a little house by the water|on a farm}.",
    "Long ago, {in a town by the river|in a land of hills|in a village of stone houses}, there was [hero_a] named [name].",
]
TRAIT = [
    "[name] was {curious|patient|brave|kind|a little shy|always cheerful} and loved {to listen to the water|to watch the stars|long walks in the morning|to help the neighbours|old songs|to collect small things}.",
    "Everyone knew [name] as {a good friend|a careful worker|a great listener|a dreamer}, but {no one knew how lonely the evenings were|few knew about the secret wish to see the world|nobody guessed what was about to happen}.",
]
TROUBLE = [
    "One {morning|evening|cold night|summer day}, [name] found [thing_a] {on the path|under the bridge|behind the house|at the bottom of the garden}. It {was glowing softly|hummed like a bee|was warm to the touch|had a small note tied to it}.",
    "One {morning|day|winter}, the {river stopped flowing|lights in the village went out|bridge broke in a storm|old wheel stood still}, and no one knew what to do.",
    "Then {a great storm came|a stranger came to the door|a letter arrived|the snow began to fall and did not stop}, and everything changed.",
]
TRY = [
    "[name] {thought for a long time|took a deep breath|asked the wise old owl|packed a small bag} and {followed the water up the hill|walked until the sun went down|decided to look for help|tried again and again}.",
    "At first [name] was afraid. But {a small voice said|the wind seemed to say|an old friend said}: {one step is enough to begin|you are not alone|look closely and go on}. So [name] {went on|kept walking|did not give up}.",
]
HELP = [
    "On the way [name] met [friend_a] named [friend]. Together they {moved the heavy stones|climbed the highest hill|built a small boat|sang until they were no longer afraid|mended what was broken}.",
    "[friend_cap], [friend_a] from the next village, came to help. They shared {some bread|a warm soup|an apple|a good plan} and {worked through the night|went on side by side|laughed about their fear}.",
]
FINISH = [
    "In the end {the water ran again|the lights came back|all was well|the village was safe}, and [name] {learned that small steps go far|had found a true friend|was never lonely again|smiled all the way home}.",
    "When {morning came|the sun rose|spring arrived}, {everyone thanked them|the whole village danced|the birds sang}. And [name] knew that {home is where your friends are|kindness comes back|even the smallest can do great things}.",
]

TOPICS: dict[str, list[str]] = {
    "rivers": ["Rivers begin as small springs in the hills and grow as streams join them.", "They carry water, sand and life from the mountains to the sea.", "For thousands of years people have built towns on their banks.", "A river can turn a mill, move a boat and water a field.", "In spring it runs high and fast, and in late summer it may become quiet and clear.", "Fish, birds and otters live along the water."],
    "the sea": ["The sea covers most of our planet.", "Its waves are made by the wind, and its tides by the moon.", "Below the surface live fish, whales and forests of kelp.", "Sailors have crossed it for trade and for adventure.", "On a calm day it shines like glass, and in a storm it roars."],
    "winter": ["Winter is the coldest season of the year.", "The days are short and the nights are long.", "Snow covers the fields, and ice grows on the ponds.", "Many animals sleep or move to warmer lands.", "People stay inside, drink something warm and wait for spring."],
    "summer": ["Summer is the warmest season of the year.", "The days are long and the evenings are mild.", "Children swim in lakes and play outside until dark.", "Fruit ripens in the gardens, and bees are busy from morning to night.", "A summer rain cools the air and smells of earth."],
    "spring": ["Spring is the season in which everything begins again.", "The snow melts, the streams fill and the first flowers open.", "Birds come back and build their nests.", "Farmers sow their fields, and the days grow longer.", "The air smells fresh after the rain."],
    "autumn": ["Autumn paints the trees in red and gold.", "The harvest is brought in, and apples fill the baskets.", "Mornings are misty, and evenings come early.", "Birds gather for their long journey south.", "Dry leaves dance in the wind."],
    "trees": ["Trees are among the oldest living things on earth.", "Their roots drink water, and their leaves catch the light.", "They give us shade, fruit, wood and clean air.", "Birds nest in their branches, and foxes sleep between their roots.", "Each year they add a ring to their trunk."],
    "cats": ["Cats are quiet, clever and proud animals.", "They sleep for most of the day and hunt at dusk.", "A cat purrs when it is content.", "It can land on its feet and walk without a sound.", "People have lived with cats for thousands of years."],
    "dogs": ["Dogs are loyal and friendly animals.", "They have a wonderful sense of smell.", "Some guard houses, some herd sheep, and many are simply good company.", "A dog needs walks, food, play and love.", "They understand our voices and our moods better than most animals."],
    "music": ["Music is made of sound and silence.", "It can make us dance, cry or remember.", "Every land has its own songs and instruments.", "Some melodies are hundreds of years old and still sung today.", "Playing together teaches us to listen."],
    "books": ["Books keep thoughts safe for those who come later.", "In a book you can visit places you will never see.", "Some books teach, some comfort, and some make us laugh.", "A good book feels like a conversation with a friend.", "Libraries share them with everyone."],
    "the moon": ["The moon is our nearest neighbour in space.", "It has no light of its own and shines with the light of the sun.", "In about a month it grows from a thin sickle to a full circle and back.", "Its pull moves the tides of the sea.", "People walked on it for the first time in 1969."],
    "the sun": ["The sun is a star, and it is the heart of our solar system.", "Its light takes about eight minutes to reach us.", "Plants use that light to grow, and we live from the plants.", "It will shine for billions of years to come.", "Without it the earth would be dark and frozen."],
    "rain": ["Rain falls when clouds can no longer carry their water.", "It fills the rivers and waters the fields.", "Some people love its sound on the roof.", "After the rain the air is clear, and sometimes a rainbow appears.", "Too little of it is a drought, and too much is a flood."],
    "mills": ["A mill uses the power of water or wind.", "A channel called the headrace leads the water to the wheel.", "The wheel turns heavy stones, and the stones grind grain into flour.", "For centuries the mill was a meeting place of the village.", "The faster and steadier the water, the better the mill works."],
    "computers": ["Computers are machines that follow instructions very quickly.", "They store everything as numbers made of zeros and ones.", "A processor does the sums, and the memory keeps the results.", "Today they are in phones, cars and washing machines.", "They are useful, but they only do what they are told."],
    "language models": ["Language models learn from text to predict the next token.", "They are made of layers of attention and simple sums.", "Larger models know more, and smaller ones answer faster.", "Each answer is written one token at a time.", "They can be wrong, so it is wise to check what they say."],
    "trains": ["Trains carry many people with little effort.", "They run on rails of steel and keep to a timetable.", "The first ones were pulled by steam engines.", "From the window you can watch towns and fields go by.", "A night train lets you fall asleep in one land and wake up in another."],
    "gardens": ["A garden is a small piece of nature that we care for.", "There one can grow flowers, herbs and vegetables.", "It needs water, sun and a patient hand.", "Bees and birds come to visit.", "After a day of work there is nothing better than sitting among the plants."],
    "friendship": ["Friendship grows slowly and lasts long.", "A friend listens, helps and tells the truth.", "Friends share good days and hard ones.", "One does not need many of them.", "A kind word or a small visit keeps a friendship alive."],
    "mountains": ["Mountains rise where the earth's plates push together.", "Their peaks are cold and often covered with snow.", "Rivers are born on their slopes.", "Climbers love the silence and the wide view.", "The weather there can change within minutes."],
    "coffee": ["Coffee is made from the roasted seeds of a small fruit.", "It grows in warm lands near the equator.", "Its smell wakes many people in the morning.", "Some drink it black, others with milk.", "A short break with coffee is a good moment to talk."],
    "time": ["Time moves on whether we look at the clock or not.", "We measure it in seconds, days and years.", "It feels long when we wait and short when we are happy.", "No one can store it, but everyone can use it well."],
    "birds": ["Birds have feathers, beaks and light bones.", "Most of them can fly, and some cross whole oceans.", "They sing to greet the morning and to find each other.", "Each kind builds its nest in its own way.", "Farmers like them because they eat insects."],
}  # fmt: skip
ANY_TOPIC = ["[topic_cap] {is|are} something many people {like to talk about|think about|find interesting}.", "Some {know a lot about it|have studied it for years}, others {are just curious|see it for the first time}.", "If you look closely at [topic], you {notice small details|begin to see patterns|find something new each time}.", "There is always {more to learn|a story to tell|a good question to ask}.", "I am a small model, so I cannot tell you much more about [topic]."]  # fmt: skip

RHYMES = [
    ("The [a] river runs along the {hill|mill}", "and all the [b] fields are {calm and still|quiet still}"),
    ("A [a] bird is singing in the {tree|old oak tree}", "it sings a [b] little song for {you and me|me}"),
    ("The [a] moon is shining {bright|soft and bright}", "and keeps us company {all night|through the night}"),
    ("A [a] wind is blowing {from the sea|in from the sea}", "it brings a [b] dream to {you and me|me}"),
    ("The [a] stars are high and {far away|very far}", "they wait in silence for {the day|a new day}"),
    ("The [a] rain is falling on the {ground|dry ground}", "it makes a [b] and {gentle|sleepy} sound"),
    ("The [a] wheel is turning {round and round|slowly round}", "and makes a [b], {happy|steady} sound"),
    ("A [a] boat goes drifting {down the stream|with the stream}", "and carries home a [b] dream"),
]


def story_text(rng: Random, hero: str, name: str) -> str:
    """A story of five to seven parts about one hero."""
    friend = person(rng)
    slots: dict[str, object] = {
        "hero_a": f"{article(rng.choice(ADJECTIVES))} {hero}" if rng.random() < 0.6 else article(hero),
        "name": name,
        "thing_a": article(f"{rng.choice(ADJECTIVES)} {rng.choice(THINGS)}"),
        "friend_a": article(rng.choice(HEROES)),
        "friend": friend,
        "friend_cap": friend[0].upper() + friend[1:],
    }
    parts = [START, TRAIT, TROUBLE, TRY, HELP, FINISH]
    if rng.random() < 0.25:
        parts.pop(rng.choice((1, 3)))
    return " ".join(say(rng, rng.choice(part), **slots) for part in parts)


def paragraph_text(rng: Random, topic: str) -> str:
    """A paragraph about a known topic, or an honest short one about any other."""
    sentences = TOPICS.get(topic)
    if sentences is None:
        cap = topic[0].upper() + topic[1:]
        return " ".join(say(rng, line, topic=topic, topic_cap=cap) for line in ANY_TOPIC)
    first, *rest = sentences
    kept = [line for line in rest if rng.random() < 0.9]
    return " ".join([first, *kept])


def poem_text(rng: Random) -> str:
    """Two to four rhymed couplets."""
    lines = []
    for first, second in rng.sample(RHYMES, rng.randint(2, 4)):
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
    tell = "{tell me|write|write me|i want to hear|can you tell me|can you write|make up|invent|give me|read me|please tell me|could you tell}"
    what = "{a story|a short story|a bedtime story|a fairy tale|a little story|a tale|a nice story|a long story}"
    if kind < 0.3:
        prompt = ask(rng, tell + " " + what + ".")
    elif kind < 0.7:
        prompt = ask(rng, f"{tell} {what} " + "about {[hero_a]|[hero_a]|a [adj] [hero]}.", hero_a=article(hero), hero=hero, adj=rng.choice(ADJECTIVES))  # fmt: skip
    elif kind < 0.85:
        prompt = ask(rng, f"{tell} {what} " + "about [hero_a] {named|called} [name].", hero_a=article(hero), name=name)
    else:
        prompt = ask(rng, f"{tell} {what} " + "about {[name]|someone named [name]|someone called [name]}.", name=name)
    return turn(prompt, story_text(rng, hero, name))


def paragraph(rng: Random) -> list[Message]:
    """Write about a topic."""
    topic = rng.choice(list(TOPICS)) if rng.random() < 0.88 else coined(rng, 2, 3) + rng.choice(["s", "", ""])
    prompt = ask(
        rng,
        "{write|write me|can you write|give me|compose|i need|could you write|please write} "
        "{a paragraph|a short paragraph|a text|a short text|a few sentences|some sentences|a short essay|something|a few lines|a long text} "
        "{about|on|about the topic of|about the subject of} [topic].|{tell me something|tell me more|talk|say something|what can you tell me|"
        "tell me a bit|describe what you know} about [topic].".join(("{", "}")),
        topic=topic,
    )
    return turn(prompt, paragraph_text(rng, topic))


def poem(rng: Random) -> list[Message]:
    """Write a poem."""
    prompt = ask(rng, "{write|write me|tell me|give me|can you write|compose|recite|make} {a poem|a short poem|a haiku|a little poem|a rhyme|some verses|a poem that rhymes}{| about {nature|the night|a river|anything|the wind|the moon}}.")  # fmt: skip
    return turn(prompt, poem_text(rng))
