"""Common facts, each a closed list: capitals, opposites, colours, sounds, numbers, science, advice."""

from __future__ import annotations


def _pairs(text: str) -> dict[str, str]:
    """`a:b, c:d` as a dictionary."""
    return dict(item.strip().split(":") for item in text.replace("\n", " ").split(",") if item.strip())


CAPITALS = _pairs("""France:Paris, Germany:Berlin, Spain:Madrid, Italy:Rome, Portugal:Lisbon, Austria:Vienna,
Switzerland:Bern, Belgium:Brussels, the Netherlands:Amsterdam, Denmark:Copenhagen, Sweden:Stockholm,
Norway:Oslo, Finland:Helsinki, Iceland:Reykjavik, Ireland:Dublin, the United Kingdom:London, England:London,
Scotland:Edinburgh, Poland:Warsaw, Hungary:Budapest, Greece:Athens, Turkey:Ankara, Russia:Moscow,
Ukraine:Kyiv, Romania:Bucharest, Bulgaria:Sofia, Croatia:Zagreb, Estonia:Tallinn, Latvia:Riga,
Egypt:Cairo, Kenya:Nairobi, Nigeria:Abuja, Morocco:Rabat, Ethiopia:Addis Ababa, Ghana:Accra,
Japan:Tokyo, China:Beijing, India:New Delhi, South Korea:Seoul, Thailand:Bangkok, Vietnam:Hanoi,
Indonesia:Jakarta, the Philippines:Manila, Pakistan:Islamabad, Iran:Tehran, Iraq:Baghdad, Israel:Jerusalem,
Australia:Canberra, New Zealand:Wellington, Canada:Ottawa, the United States:Washington D.C.,
the USA:Washington D.C., Mexico:Mexico City, Cuba:Havana, Brazil:Brasilia, Argentina:Buenos Aires,
Chile:Santiago, Peru:Lima, Colombia:Bogota""")

CONTINENTS = _pairs("""France:Europe, Germany:Europe, Spain:Europe, Italy:Europe, Norway:Europe, Poland:Europe,
Greece:Europe, Egypt:Africa, Kenya:Africa, Nigeria:Africa, Ghana:Africa, Morocco:Africa, Japan:Asia, China:Asia,
India:Asia, Thailand:Asia, Vietnam:Asia, Iran:Asia, Canada:North America, Mexico:North America, Cuba:North America,
Brazil:South America, Argentina:South America, Chile:South America, Peru:South America""")

LANGUAGES = _pairs("""France:French, Germany:German, Spain:Spanish, Italy:Italian, Portugal:Portuguese, Austria:German,
Denmark:Danish, Sweden:Swedish, Norway:Norwegian, Finland:Finnish, Poland:Polish, Greece:Greek, Turkey:Turkish,
Russia:Russian, Japan:Japanese, China:Chinese, South Korea:Korean, Thailand:Thai, Vietnam:Vietnamese,
Brazil:Portuguese, Mexico:Spanish, Argentina:Spanish, Egypt:Arabic, Israel:Hebrew, England:English""")

OPPOSITES = _pairs("""hot:cold, big:small, tall:short, fast:slow, up:down, left:right, day:night, light:dark, open:closed,
full:empty, hard:soft, heavy:light, high:low, old:young, new:old, rich:poor, happy:sad, good:bad, early:late, wet:dry,
clean:dirty, strong:weak, loud:quiet, near:far, first:last, inside:outside, true:false, yes:no, black:white, thick:thin,
wide:narrow, deep:shallow, sweet:sour, smooth:rough, sharp:blunt, easy:difficult, alive:dead, brave:cowardly,
begin:end, buy:sell, give:take, push:pull, win:lose, love:hate, remember:forget, summer:winter, north:south,
east:west, always:never, above:below""")

COLOURS_OF = _pairs("""the sky:blue, grass:green, snow:white, coal:black, a banana:yellow, blood:red, a lemon:yellow,
a strawberry:red, the sea:blue, chocolate:brown, a carrot:orange, an orange:orange, milk:white, a tomato:red,
a cucumber:green, the sun:yellow, an elephant:grey, a flamingo:pink, a crow:black, a sunflower:yellow,
an emerald:green, a ruby:red, a polar bear:white, a pea:green, charcoal:black""")

SOUNDS = _pairs("""dog:woof, cat:meow, cow:moo, sheep:baa, duck:quack, horse:neigh, pig:oink, lion:roar, frog:ribbit,
rooster:cock-a-doodle-doo, bee:buzz, snake:hiss, owl:hoot, mouse:squeak, wolf:howl""")

YOUNG = _pairs("""dog:puppy, cat:kitten, cow:calf, sheep:lamb, horse:foal, pig:piglet, duck:duckling, hen:chick, bear:cub,
lion:cub, goat:kid, deer:fawn, frog:tadpole, swan:cygnet, goose:gosling, kangaroo:joey""")

COUNTS = _pairs("""days are in a week:7, hours are in a day:24, minutes are in an hour:60, seconds are in a minute:60,
months are in a year:12, days are in a year:365, weeks are in a year:52, letters are in the alphabet:26,
legs does a spider have:8, legs does a dog have:4, legs does an ant have:6, legs does a bird have:2,
arms does an octopus have:8, sides does a triangle have:3, sides does a square have:4, sides does a hexagon have:6,
sides does a pentagon have:5, continents are there:7, planets are in the solar system:8, strings does a violin have:4,
strings does a guitar have:6, fingers does a person have:10, seasons are in a year:4, wheels does a car have:4,
wheels does a bicycle have:2, eggs are in a dozen:12, years are in a century:100, years are in a decade:10,
grams are in a kilogram:1000, metres are in a kilometre:1000, centimetres are in a metre:100, bits are in a byte:8,
players are in a football team:11, squares are on a chessboard:64, colours are in a rainbow:7""")

SYMBOLS = _pairs("""hydrogen:H, oxygen:O, carbon:C, nitrogen:N, gold:Au, silver:Ag, iron:Fe, copper:Cu, sodium:Na,
helium:He, water:H2O, salt:NaCl, lead:Pb, calcium:Ca""")

SINGLES: list[tuple[str, str, str]] = [  # question, short answer, full answer
    ("{what is the largest planet|which planet is the largest|which planet is biggest|name the biggest planet}", "Jupiter", "Jupiter is the largest planet of the solar system."),
    ("{what is the smallest planet|which planet is the smallest}", "Mercury", "Mercury is the smallest planet of the solar system."),
    ("{which planet is closest to the sun|what planet is nearest to the sun}", "Mercury", "Mercury is the planet closest to the sun."),
    ("{which planet is called the red planet|what is the red planet|which planet is red}", "Mars", "Mars is called the red planet."),
    ("{what is the largest ocean|which ocean is the biggest|name the largest ocean}", "the Pacific", "The Pacific is the largest ocean."),
    ("{what is the tallest mountain|which mountain is the highest|what is the highest mountain in the world}", "Mount Everest", "Mount Everest is the highest mountain above sea level."),
    ("{what is the largest animal|which animal is the biggest|what's the biggest animal on earth}", "the blue whale", "The blue whale is the largest animal."),
    ("{what is the fastest land animal|which animal runs the fastest|what's the fastest animal on land}", "the cheetah", "The cheetah is the fastest animal on land."),
    ("{what is the tallest animal|which animal is the tallest}", "the giraffe", "The giraffe is the tallest animal."),
    ("{at what temperature does water boil|when does water boil|what is the boiling point of water}", "100 degrees Celsius", "Water boils at 100 degrees Celsius at sea level."),
    ("{at what temperature does water freeze|when does water freeze|what is the freezing point of water}", "0 degrees Celsius", "Water freezes at 0 degrees Celsius."),
    ("{what is ice made of|what is snow made of|what is ice}", "water", "Ice is frozen water."),
    ("{what do bees make|what do bees produce}", "honey", "Bees make honey."),
    ("{what do cows give|what do cows produce|where does milk come from}", "milk", "Milk comes from cows."),
    ("{what do plants need to grow|what do plants need|what does a plant need to live}", "light, water and air", "Plants need light, water, air and some minerals to grow."),
    ("{why is the sky blue|what makes the sky blue}", "scattered light", "The sky is blue because air scatters blue light more than red light."),
    ("{why is the sea salty|why is sea water salty|why is the ocean salty}", "salt from rocks", "The sea is salty because rivers wash salts out of the rocks and carry them there."),
    ("{what causes rain|why does it rain|where does rain come from|how does rain form}", "clouds", "Rain falls when water vapour in clouds cools and gathers into drops that are too heavy to float."),
    ("{what is photosynthesis|explain photosynthesis|what does photosynthesis do}", "plants making sugar from light", "Photosynthesis is how plants use light to make sugar from water and carbon dioxide."),
    ("{what is gravity|explain gravity|what does gravity do}", "a pull between masses", "Gravity is the pull between things that have mass. It keeps us on the ground and the moon near the earth."),
    ("{what is the moon|what's the moon}", "the earth's satellite", "The moon is the earth's natural satellite. It goes around us about once a month."),
    ("{what is the sun|what's the sun|is the sun a star}", "a star", "The sun is a star, a huge hot ball of gas that gives us light and warmth."),
    ("{how long does the earth take to go around the sun|how long is a year}", "one year", "The earth goes around the sun in one year, about 365 days."),
    ("{what is the closest star|what star is nearest to us|which star is closest to earth}", "the sun", "The sun is the star closest to the earth."),
    ("{who wrote romeo and juliet|who wrote hamlet|who is the author of hamlet|who wrote macbeth}", "William Shakespeare", "William Shakespeare wrote it."),
    ("{who painted the mona lisa|who is the painter of the mona lisa}", "Leonardo da Vinci", "Leonardo da Vinci painted the Mona Lisa."),
    ("{who discovered gravity|who described gravity}", "Isaac Newton", "Isaac Newton described the law of gravity."),
    ("{who developed the theory of relativity|who came up with relativity}", "Albert Einstein", "Albert Einstein developed the theory of relativity."),
    ("{who was the first person on the moon|who walked on the moon first}", "Neil Armstrong", "Neil Armstrong was the first person on the moon, in 1969."),
    ("{what is the longest river|which river is the longest|name the longest river in the world}", "the Nile", "The Nile is usually called the longest river."),
    ("{what is the largest country|which country is the biggest}", "Russia", "Russia is the largest country by area."),
    ("{what is the smallest country|which country is the smallest}", "Vatican City", "Vatican City is the smallest country."),
    ("{what gas do we breathe|which gas do we need to breathe|what gas do people need}", "oxygen", "We need oxygen to breathe."),
    ("{what is the hardest natural material|what is the hardest mineral}", "diamond", "Diamond is the hardest natural material."),
    ("{what colour do you get when you mix blue and yellow|what do blue and yellow make}", "green", "Blue and yellow make green."),
    ("{what colour do you get when you mix red and yellow|what do red and yellow make}", "orange", "Red and yellow make orange."),
    ("{what colour do you get when you mix red and blue|what do red and blue make}", "purple", "Red and blue make purple."),
    ("{what colour do you get when you mix black and white|what do black and white make}", "grey", "Black and white make grey."),
    ("{what is the first month of the year|which month comes first}", "January", "January is the first month of the year."),
    ("{what is the last month of the year|which month is last}", "December", "December is the last month of the year."),
    ("{which month has 28 days|what is the shortest month|which month is the shortest}", "February", "February is the shortest month, with 28 or 29 days."),
    ("{what is the first letter of the alphabet}", "A", "The first letter of the alphabet is A."),
    ("{what is the last letter of the alphabet}", "Z", "The last letter of the alphabet is Z."),
    ("{is a whale a fish|are whales fish}", "no", "No, a whale is a mammal."),
    ("{is a tomato a fruit|are tomatoes fruits}", "yes", "Yes, in botany a tomato is a fruit."),
    ("{is the earth round|is the earth flat}", "the earth is round", "The earth is round, nearly a sphere."),
    ("{can penguins fly|do penguins fly}", "no", "No, penguins cannot fly, but they swim very well."),
    ("{can fish breathe under water|how do fish breathe}", "with gills", "Fish breathe under water with gills."),
    ("{what do pandas eat|what does a panda eat}", "bamboo", "Pandas eat mostly bamboo."),
    ("{what do rabbits eat|what does a rabbit eat}", "grass and leaves", "Rabbits eat grass, leaves and vegetables."),
    ("{where does the sun rise|in which direction does the sun rise}", "in the east", "The sun rises in the east."),
    ("{where does the sun set|in which direction does the sun set}", "in the west", "The sun sets in the west."),
    ("{what is bread made of|what is bread made from|what do you need to make bread}", "flour and water", "Bread is made of flour, water, salt and usually yeast."),
    ("{what is glass made of|what is glass made from}", "sand", "Glass is made mostly of sand."),
    ("{what is paper made of|what is paper made from}", "wood", "Paper is made mostly of wood fibres."),
    ("{what is cheese made of|what is cheese made from}", "milk", "Cheese is made of milk."),
    ("{what is a mill|what does a mill do|what is a water mill|what's a watermill}", "a machine that grinds", "A mill is a machine or building that grinds grain. A water mill takes its power from a wheel turned by water."),
    ("{what is python|what's python|tell me about python}", "a programming language", "Python is a programming language that is easy to read and widely used."),
    ("{what is linux|what's linux}", "an operating system", "Linux is a free operating system that runs on most servers."),
    ("{what is a cpu|what's a cpu|what does a cpu do}", "a processor", "A CPU is the main processor of a computer. It runs the instructions of programs."),
    ("{what is json|what's json|explain json}", "a text format", "JSON is a simple text format for data, made of objects, lists, strings and numbers."),
    ("{what is http|what's http|explain http}", "a web protocol", "HTTP is the protocol by which browsers and programs talk to servers on the web."),
    ("{what is an api|what's an api|explain an api}", "an interface", "An API is an interface by which one program uses another."),
]  # fmt: skip

ADVICE: list[tuple[str, str]] = [
    ("{how can i sleep better|how do i fall asleep|i cannot sleep what can i do|give me tips for better sleep}", "Go to bed at the same time each day, keep the room dark and cool, and put screens away an hour before."),
    ("{how do i make tea|how to make tea|how is tea made|tell me how to make tea}", "Boil fresh water, pour it over the tea, wait three to five minutes, and take the leaves out."),
    ("{how do i make coffee|how to brew coffee|how is coffee made}", "Grind the beans, pour hot water over them slowly, let it drip through, and enjoy it fresh."),
    ("{how do i cook rice|how to cook rice|how is rice cooked}", "Rinse the rice, add twice as much water, bring it to a boil, then let it simmer covered for about fifteen minutes."),
    ("{how do i boil an egg|how long do i boil an egg|how to boil eggs}", "Put the egg in boiling water: six minutes for a soft egg, ten for a hard one. Then cool it in cold water."),
    ("{how can i learn a language|how do i learn a new language|tips for learning a language}", "Practise a little every day, speak from the start, and read things you enjoy."),
    ("{how can i learn to program|how do i learn programming|how do i start coding}", "Pick one language such as Python, write small programs every day, and read code that others wrote."),
    ("{how can i relax|how do i calm down|how can i feel less stressed|i am stressed}", "Take a few slow breaths, go for a short walk, and do one thing at a time."),
    ("{how do i save money|how can i save money|tips for saving money}", "Write down what you spend, set a small amount aside each month, and wait a day before you buy big things."),
    ("{how do i focus better|how can i concentrate|how do i stop being distracted}", "Put your phone away, choose one task, work on it for twenty-five minutes, and then take a short break."),
    ("{how do i stay healthy|how can i be healthy|tips for a healthy life}", "Sleep enough, eat plenty of vegetables, move every day, and spend time with people you like."),
    ("{what should i cook tonight|what can i eat for dinner|give me an idea for dinner}", "How about a vegetable soup with fresh bread? It is simple, warm and quick."),
    ("{what should i do this weekend|i am bored|i'm bored what should i do|what can i do today}", "You could take a walk by a river, read a good book, or call a friend."),
    ("{how do i water plants|how often should i water plants|how do i care for a house plant}", "Water them when the top of the soil is dry, give them light, and do not let them stand in water."),
    ("{how do i write a good email|how to write an email|tips for writing an email}", "Say in the first line what you want, keep it short, and end with a clear next step."),
]  # fmt: skip

CODE: list[tuple[str, str]] = [
    ("{write hello world in python|show me hello world in python|python hello world|how do i print in python}", 'print("Hello, world!")'),
    ("{write a for loop in python|show me a python loop|how do i write a loop in python}", "for number in range(1, 6):\n    print(number)"),
    ("{write a python function that adds two numbers|python function to add two numbers|write an add function in python}", "def add(a, b):\n    return a + b"),
    ("{write a python function for the factorial|factorial in python|write a factorial function in python}", "def factorial(n):\n    result = 1\n    for i in range(2, n + 1):\n        result *= i\n    return result"),
    ("{write a fibonacci function in python|fibonacci in python|python code for fibonacci numbers}", "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a"),
    ("{reverse a string in python|how do i reverse a string in python|python code to reverse text}", "def reverse(text):\n    return text[::-1]"),
    ("{how do i read a file in python|python code to read a file|read a text file in python}", 'with open("notes.txt") as file:\n    text = file.read()\nprint(text)'),
    ("{write a python class for a dog|show me a class in python|python class example}", 'class Dog:\n    def __init__(self, name):\n        self.name = name\n\n    def speak(self):\n        return f"{self.name} says woof"'),
]  # fmt: skip
