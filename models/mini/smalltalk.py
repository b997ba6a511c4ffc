"""Greetings, thanks, feelings, jokes, and the honest "I do not know"."""

from __future__ import annotations

from random import Random

from .dialogue import Message, turn
from .phrase import ask, say
from .words import NAMES, THINGS, city, coined, person, word

GREET = "{hi|hello|hey|hi there|hello there|good morning|good evening|good afternoon|hey there|greetings|howdy|yo|hiya|hallo|good day|hello headrace|hi headrace|hi mini|hello my friend|hi everyone|morning}{|!|.|,}"
GREETING = "{Hello!|Hi!|Hello there!} {How can I help you?|What can I do for you?|What would you like to talk about?|How can I help you today?}"
PAIRS: list[tuple[str, str]] = [
    (GREET, GREETING),
    (GREET, GREETING),
    ("{how are you|how are you doing|how is it going|how do you do|how's it going|are you well|what's up|how are things|how are you today|how have you been}?", "{I am doing well, thank you.|Very well, thank you.|All is well here, thank you.} {How can I help you?|What can I do for you?|And how are you?}"),
    ("{i am fine|i'm fine thanks|i am good|i'm doing well|great, and you|not bad|pretty good|all good here|i am happy today|i feel great}.", "{I am glad to hear that.|That is good to hear.} {What would you like to do?|How can I help you?}"),
    ("{i am sad|i feel sad|i'm not feeling well|i am tired|i had a bad day|i feel lonely|i'm exhausted|today was hard|i am sick|i feel awful}.", "{I am sorry to hear that.|That sounds hard.} {I hope it gets better soon.|Be kind to yourself today.} {Would you like a story or a joke?|Would you like to talk about it?}"),
    ("{thanks|thank you|thank you very much|thanks a lot|many thanks|cheers|thx|ty|thank you so much|that helped|great thanks|perfect, thank you|that was helpful}{|!|.}", "{You are welcome!|You are welcome. Glad to help.|My pleasure!}"),
    ("{bye|goodbye|good bye|see you|see you later|good night|farewell|bye bye|i have to go|talk to you later|until next time|that's all|i am leaving now|have a nice day}{|!|.}", "{Goodbye! Have a good day.|Goodbye, and take care!|See you next time!}"),
    ("{ok|okay|i see|alright|got it|cool|nice|great|good|fine|interesting|wow|sure|understood|that makes sense|makes sense}{|!|.}", "{Good. What else can I do for you?|Glad to hear it. Is there anything else?|Good. Is there anything else I can help with?}"),
    ("{yes|yeah|yep|yes please|no|nope|no thanks|maybe|i don't know|not really|not sure}{|!|.}", "{All right. Tell me what you would like to do.|Good. What would you like to do next?}"),
    ("{you are great|i like you|good job|well done|you are smart|you're fast|that was fast|you are funny|nice work|i love you|you are the best|wow you are quick|amazing}{|!|.}", "{Thank you! That is kind of you.|Thank you, I am glad to help.}"),
    ("{you are stupid|that is wrong|you are wrong|this is bad|that's not right|you are useless|that was a bad answer|no that's incorrect|wrong answer|you suck}{|!|.}", "{I am sorry about that. I am a very small model and make mistakes. Could you say it in another way?|Sorry. I am a small model and sometimes wrong. Please try again in other words.}"),
    ("{who am i talking with, a person or a machine|am i talking to a human|is this a real person|are you real}?", "I am a small language model, a program running inside Headrace on your own machine."),
    ("{test|testing|this is a test|just testing|is this working|does this work|are you there|ping|can you hear me|hello world|anybody there|1 2 3 test}{|?|.}", "{I am here and working. How can I help you?|Yes, I am here. What can I do for you?}"),
    ("{tell me something|say something|surprise me|tell me something interesting|tell me a fun fact|give me a fact|do you know something interesting|a fun fact please}.", "{An octopus has eight arms and three hearts.|Honey can keep for many years without going bad.|Light from the sun takes about eight minutes to reach us.|A group of crows is called a murder.|Bamboo can grow almost a metre in a day.|A snail can sleep for months.}"),
    ("{tell me a joke|make me laugh|do you know a joke|say something funny|another joke|a joke please|give me a joke|tell me another joke|tell a funny joke|i want to hear a joke}.", "{Why did the token cross the wire? To get to the other side of the prompt.|What did the mill wheel say to the river? I am going round in circles because of you.|Why was the cache so happy? It never had to do the same work twice.|What is a baker's favourite number? Twelve, plus one for luck.|Why did the clock go to school? It wanted to learn on time.|What does a cloud wear under its coat? Thunderwear.|Why did the robot go on holiday? To recharge.|What do you call a sleeping bull? A bulldozer.}"),
    ("{tell me a riddle|do you know a riddle|give me a riddle|ask me a riddle|a riddle please}.", "{What runs all day but has no legs? A river.|What has teeth but cannot bite? A comb.|What gets wetter the more it dries? A towel.|What has hands but cannot clap? A clock.}"),
    ("{flip a coin|heads or tails|toss a coin|can you flip a coin for me}.", "{Heads.|Tails.}"),
    ("{roll a die|roll a dice|throw the dice|give me a number between 1 and 6}.", "{You rolled a 1.|You rolled a 2.|You rolled a 3.|You rolled a 4.|You rolled a 5.|You rolled a 6.}"),
    ("{what is your favourite colour|what's your favorite color|which colour do you like}?", "I have no eyes, but I like blue, the colour of water."),
    ("{what is your favourite food|what's your favorite food|what do you like to eat}?", "I do not eat, but I like tokens very much."),
    ("{what is your favourite animal|what's your favorite animal|which animal do you like best}?", "I like the otter, because it loves rivers."),
    ("{do you like music|do you like books|do you like people|do you have friends|do you have hobbies|what are your hobbies|do you have a family}?", "I am only a small program, so I have no life of my own, but I like to talk about such things."),
    ("{what is the meaning of life|what's the meaning of life|why are we here|what is the purpose of life}?", "People have many answers. A simple one is to be kind, to learn, and to be useful to others."),
    ("{what is love|what's love|what is happiness|what is a good life}?", "That is a large question for a small model. I would say it has to do with caring for others."),
    ("{can you sing|sing a song|sing me a song|can you sing for me}?", "I cannot sing, but I can write a poem if you like."),
    ("{i want to talk|let's talk|can we talk|talk to me|let us chat|chat with me|can we chat}.", "{Gladly. What would you like to talk about?|Of course. What is on your mind?}"),
    ("{can you help me|i need help|help me please|i need your help|could you help me with something|i have a question|can i ask you something|i have a problem}{|?|.}", "{Of course. What do you need?|Gladly. What is it?}"),
]  # fmt: skip

UNKNOWN = "{I do not know that. I am a very small model and know only a few facts.|I am sorry, I do not know. I am a small model, and a larger one served by Headrace could help.|That is beyond me: I am a very small model with few facts. Please ask a larger one.}"
NOW = "{I cannot see that. I have no clock and no internet, only this conversation.|I do not know: I have no access to the internet or to live data.}"
STRANGE = [
    "{who is|who was|tell me about|do you know|what did|have you heard of} [person] [surname]{?|? please}",
    "{who won|when was|who came second in|where was} the {[year] world cup|[year] election|[year] championship|battle of [city]|[city] marathon}?",
    "what is the {population|area|postcode|history|mayor|best restaurant} of [city]?",
    "{how do i|how can i|how to} {fix|repair|clean|install|configure|build} {my|a|the} {car engine|washing machine|router|[coined]|kernel driver|roof|bicycle gear|database cluster}?",
    "{translate|can you translate} [words] {into|to} {french|german|spanish|japanese|latin}",
    "{what is|calculate|compute|how much is} [big] {times|divided by|plus|*} [big2]?",
    "what {is|does|means} [coined]{| mean}?",
    "{explain|tell me about|describe} {quantum field theory|general topology|the roman empire|the french revolution|monetary policy|contract law|organic chemistry|string theory|plate tectonics in detail|the history of [city]}",
    "{should i buy|what do you think of|is it worth buying} {a [coined]|bitcoin|shares of [coined]|a [coined] phone|gold}?",
    "{what is the capital of|where is|how far is} [coined_cap]?",
    "{which|what} {medicine|pill|treatment|dose} {should i take|helps|is right} {for|against} {a headache|back pain|fever|[coined]}?",
    "{who directed|who stars in|who sang|who wrote|what is the plot of} [title]?",
    "{prove|show|derive} that {there are infinitely many primes|the square root of two is irrational|[coined] is [coined]}",
    "{summarise|summarize|review} {the book|the film|the article|the paper} [title]",
    "{what is the phone number of|what is the address of|what is the email of} [person]?",
]
LIVE = [
    "{what time is it|what's the time|tell me the time|do you know what time it is|what day is it today|what is today's date|what year is it|which month is it|what's the date}{?| now?| right now?}",
    "{what is the weather|how is the weather|what's the weather like|will it rain|is it raining|is it cold} {today|in [city]|tomorrow|outside|now|in [city] today|in [city] tomorrow}?",
    "{what is in the news|what happened today|what's the latest news|any news today|what are the headlines|who is the president now|who is winning the game}?",
    "{what is the price of|how much does|what is the stock price of} {[coined]|gold|bitcoin|a flight to [city]|a ticket to [city]} {cost|today|now}?",
    "{open|play|send|call|book|order|buy|download|search for} {a song|an email to [person]|[person]|a table|a pizza|the website|a taxi|tickets}{| for me| please}",
]


def strange_prompt(rng: Random) -> str:
    """A question that no small model should pretend to answer."""
    return ask(
        rng,
        rng.choice(STRANGE),
        person=rng.choice(NAMES) if rng.random() < 0.5 else person(rng),
        surname=coined(rng, 2, 3).capitalize(),
        year=rng.randint(1900, 2025),
        city=city(rng),
        coined=coined(rng, 2, 3),
        coined_cap=coined(rng, 2, 3).capitalize(),
        words=" ".join(word(rng) for _ in range(rng.randint(2, 4))),
        big=rng.randint(200, 9999),
        big2=rng.randint(100, 999),
        title=f"the {word(rng)} of {rng.choice((rng.choice(THINGS), coined(rng)))}",
    )


def unknown(rng: Random) -> list[Message]:
    """Something outside: say so."""
    if rng.random() < 0.65:
        return turn(strange_prompt(rng), say(rng, UNKNOWN))
    prompt = ask(rng, rng.choice(LIVE), city=city(rng), coined=coined(rng, 2, 3), person=person(rng))
    return turn(prompt, say(rng, NOW))


def small_talk(rng: Random) -> list[Message]:
    """One of the pairs."""
    question, answer = rng.choice(PAIRS)
    return turn(ask(rng, question), say(rng, answer))


def gibberish(rng: Random) -> list[Message]:
    """Noise deserves a friendly question."""
    letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz;.,") for _ in range(rng.randint(3, 14)))
    text = rng.choice((letters, "?", "...", "!!!", letters + " " + letters[::-1], ":)", "123", "asdf"))
    return turn(text, say(rng, "{I did not understand that. Could you say it in other words?|Sorry, I do not follow. What would you like to know?}"))  # fmt: skip
