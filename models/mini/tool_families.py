"""Families of tools: alike but for their names, with requests, results, and answers from them."""

from __future__ import annotations

from dataclasses import dataclass

from .arguments import (
    AMOUNT,
    ANIMAL,
    CITY,
    COLOUR,
    FOOD,
    FROM,
    GOAL,
    ITEM,
    LANGUAGE,
    LEVEL,
    MINUTES,
    ORDER_ID,
    PERSON,
    QUERY,
    ROOM,
    SYMBOL,
    TEXT,
    TIME,
    UNIT,
    A,
    Argument,
    B,
    text,
)
from .words import word, words


@dataclass(frozen=True, slots=True)
class Family:
    """Tools alike but for their names: requests use `[0]`, `[1]` for the arguments' values."""

    names: str
    about: str
    arguments: tuple[Argument, ...]
    requests: str
    results: tuple[tuple[str, str], ...]  # JSON result and the answer made of it


FAMILIES = (
    Family(
        "get_weather|weather|current_weather|lookup_weather|get_current_weather|weather_report",
        "{Get the current weather|Current weather|Weather} {for|in|of} a city",
        (CITY,),
        "{what is the weather in [0]|how is the weather in [0]|weather in [0]|what's the weather"
        " like in [0]|is it raining in [0]|how warm is it in [0]|tell me the weather in [0]|what is"
        " the temperature in [0]|is it cold in [0] today|check the weather for [0]|do i need an"
        " umbrella in [0]}?",
        (
            ('{"temperature": [n], "condition": "[c]"}', "It is [n] degrees and [c] in [0]."),
            ("[n] degrees, [c]", "It is [n] degrees and [c] in [0]."),
            ('{"temp_c": [n], "sky": "[c]"}', "It is [n] degrees and [c] in [0]."),
        ),
    ),
    Family(
        "get_forecast|get_weather|forecast",
        "{Get the weather|Weather} in a unit",
        (CITY, UNIT),
        "{what is the weather in [0] in [1]|give me the temperature in [0] in [1]|how warm is it in"
        " [0], in [1]}?",
        (('{"temperature": [n]}', "It is [n] degrees [1] in [0]."),),
    ),
    Family(
        "get_time|current_time|time_in_city|local_time|clock",
        "{Get the local time|Local time} {in|of} a city",
        (CITY,),
        "{what time is it in [0]|what's the time in [0]|tell me the time in [0]|local time in"
        " [0]|how late is it in [0]}?",
        (('{"time": "[t]"}', "It is [t] in [0]."), ("[t]", "It is [t] in [0].")),
    ),
    Family(
        "send_message|send_text|message|notify|text_person",
        "Send a message to a person",
        (PERSON, TEXT),
        "{send a message to [0] saying [1]|tell [0]: [1]|text [0] that [1]|write [0] a message:"
        " [1]|message [0] and say [1]|send [0] the text [1]|let [0] know: [1]}",
        (
            ('{"status": "sent"}', "I sent your message to [0]."),
            ("ok", "Your message to [0] was sent."),
        ),
    ),
    Family(
        "set_timer|start_timer|timer|create_timer",
        "Start a timer",
        (MINUTES,),
        "{set a timer for [0] minutes|start a [0] minute timer|timer for [0] minutes|set a [0]"
        " minute timer|remind me in [0] minutes}",
        (
            ('{"status": "started"}', "The timer is set for [0] minutes."),
            ("ok", "The timer is set for [0] minutes."),
        ),
    ),
    Family(
        "set_alarm|create_alarm|alarm|wake_me",
        "Set an alarm",
        (TIME,),
        "{set an alarm for [0]|wake me at [0]|alarm at [0]|please wake me up at [0]|i need an alarm"
        " at [0]}",
        (
            ('{"status": "ok"}', "Your alarm is set for [0]."),
            ("done", "Your alarm is set for [0]."),
        ),
    ),
    Family(
        "add_numbers|add|sum|calculate_sum",
        "Add two numbers",
        (A, B),
        "{add [0] and [1]|what is [0] plus [1]|what is the sum of [0] and [1]|sum up [0] and"
        " [1]|[0] + [1]}?",
        (('{"result": [n]}', "The result is [n]."), ("[n]", "The result is [n].")),
    ),
    Family(
        "multiply|multiply_numbers|product|times",
        "Multiply two numbers",
        (A, B),
        "{multiply [0] by [1]|what is [0] times [1]|what is the product of [0] and [1]|[0] * [1]}?",
        (('{"result": [n]}', "The result is [n]."), ("[n]", "The result is [n].")),
    ),
    Family(
        "search|web_search|search_web|find_pages|lookup",
        "Search the web",
        (QUERY,),
        "{search for [0]|search the web for [0]|look up [0]|find pages about [0]|google [0]|find"
        " information on [0]|search [0]}",
        (('{"title": "[w]"}', "I found this: [w]."), ("[w]", "I found this: [w].")),
    ),
    Family(
        "translate|translate_text|translator",
        "Translate a text",
        (Argument("text|phrase|sentence", "string", text, "the text"), LANGUAGE),
        "{translate [0] to [1]|translate '[0]' into [1]|how do you say [0] in [1]|what is [0] in"
        " [1]|say [0] in [1]}",
        (('{"translation": "[w]"}', "In [1] it is: [w]."), ("[w]", "In [1] it is: [w].")),
    ),
    Family(
        "create_note|add_note|save_note|take_note",
        "Save a note",
        (TEXT,),
        "{make a note: [0]|note that [0]|save a note saying [0]|take a note: [0]|write down [0]|add"
        " a note: [0]}",
        (('{"status": "saved"}', "I saved the note."), ("ok", "I saved the note.")),
    ),
    Family(
        "add_to_cart|order_item|buy|add_item|order_product",
        "Put an item into the cart",
        (ITEM, AMOUNT),
        "{add [1] [0] to my cart|buy [1] [0]|order [1] [0]|i want [1] [0] in my cart|put [1] [0]"
        " into the cart|get me [1] [0]}",
        (
            ('{"status": "added"}', "I added [1] [0] to your cart."),
            ("ok", "I added [1] [0] to your cart."),
        ),
    ),
    Family(
        "set_light|set_brightness|dim_light|control_light|lights",
        "Set the brightness of a light in a room",
        (ROOM, LEVEL),
        "{set the [0] light to [1]|dim the light in the [0] to [1]|brightness in the [0] to [1]"
        " percent|turn the [0] lights to [1] percent|make the [0] light [1] percent bright}",
        (
            ('{"status": "ok"}', "The light in the [0] is set to [1] percent."),
            ("done", "The light in the [0] is set to [1] percent."),
        ),
    ),
    Family(
        "set_light_color|light_color|change_light_color",
        "Set the colour of a light",
        (ROOM, COLOUR),
        "{make the [0] light [1]|turn the light in the [0] [1]|set the [0] lights to [1]|change the"
        " colour of the [0] light to [1]}",
        (('{"status": "ok"}', "The light in the [0] is [1] now."),),
    ),
    Family(
        "turn_on|switch_on|turn_on_light|light_on",
        "Turn on the light in a room",
        (ROOM,),
        "{turn on the light in the [0]|switch on the [0] light|lights on in the [0]|turn the [0]"
        " light on|it is dark in the [0], make light}",
        (('{"status": "on"}', "The light in the [0] is on."),),
    ),
    Family(
        "get_order|order_status|track_order|find_order|lookup_order",
        "Get the status of an order",
        (ORDER_ID,),
        "{where is my order [0]|what is the status of order [0]|track order [0]|check order [0]|has"
        " order [0] been sent|find order [0]}?",
        (('{"status": "[s]"}', "Your order [0] is [s]."), ("[s]", "Your order [0] is [s].")),
    ),
    Family(
        "find_route|get_directions|route|find_train|search_flights|book_train",
        "Find a way from one city to another",
        (FROM, GOAL),
        "{how do i get from [0] to [1]|find a way from [0] to [1]|i want to go from [0] to"
        " [1]|route from [0] to [1]|show me the trip from [0] to [1]|book a trip from [0] to [1]}?",
        (
            ('{"duration_minutes": [n]}', "The trip from [0] to [1] takes [n] minutes."),
            ('{"departure": "[t]"}', "You can leave [0] at [t]."),
        ),
    ),
    Family(
        "get_recipe|find_recipe|recipe|search_recipes",
        "Find a recipe",
        (FOOD,),
        "{find a recipe for [0]|how do i cook [0]|i want to make [0], find a recipe|give me a"
        " recipe for [0]|get the [0] recipe}",
        (('{"title": "[w]"}', "I found this recipe: [w]."),),
    ),
    Family(
        "call_person|phone|make_call|dial|call_contact",
        "Call a person on the phone",
        (PERSON,),
        "{call [0]|phone [0]|please call [0]|i want to talk to [0] on the phone|ring [0]|make a"
        " call to [0]}",
        (('{"status": "calling"}', "I am calling [0]."),),
    ),
    Family(
        "get_stock_price|stock_price|quote|price_of_stock",
        "Get the price of a stock",
        (SYMBOL,),
        "{what is the price of [0]|stock price of [0]|how much is [0] stock|get the quote for"
        " [0]|how is [0] doing on the market}?",
        (('{"price": [n]}', "The price of [0] is [n]."), ("[n]", "The price of [0] is [n].")),
    ),
    Family(
        "play_song|play_music|play|start_music",
        "Play a song",
        (Argument("title|song|track", "string", text, "title of the song"),),
        "{play [0]|play the song [0]|i want to hear [0]|put on [0]|start the song [0]}",
        (('{"status": "playing"}', "Now playing [0]."),),
    ),
    Family(
        "get_user|find_user|lookup_user|get_customer|find_contact",
        "Find a person's record",
        (PERSON,),
        "{find the user [0]|look up [0]|show me the record of [0]|who is user [0]|get the details"
        " of [0]}",
        (
            ('{"email": "[w]@mail.test"}', "The address of [0] is [w]@mail.test."),
            ('{"age": [n]}', "[0] is [n] years old."),
        ),
    ),
    Family(
        "create_event|add_event|schedule_meeting|add_to_calendar",
        "Put an event into the calendar",
        (
            Argument("title|name|event|subject", "string", lambda r: words(r, 1, 3), "what it is"),
            TIME,
        ),
        "{schedule [0] at [1]|add [0] at [1] to my calendar|create an event called [0] at [1]|plan"
        " [0] for [1]|put [0] in my calendar at [1]}",
        (('{"status": "created"}', "I added [0] at [1] to your calendar."),),
    ),
    Family(
        "feed_pet|give_food|feed_animal|feeder",
        "Feed an animal",
        (ANIMAL, AMOUNT),
        "{feed the [0] [1] grams|give the [0] [1] grams of food|the [0] needs [1] grams of food}",
        (('{"status": "done"}', "The [0] got [1] grams of food."),),
    ),
    Family(
        "get_fact|lookup_fact|wiki|encyclopedia|define_word|dictionary",
        "Look up a word",
        (Argument("word|term|title|entry", "string", word, "the word"),),
        "{look up the word [0]|what does the dictionary say about [0]|find the entry for [0]|define"
        " [0] with the tool|look up [0]}",
        (('{"entry": "[w]"}', "It says: [w]."),),
    ),
    Family(
        "roll_dice|random_number|pick_number|dice",
        "Make a random number",
        (
            Argument(
                "sides|maximum|max|upper",
                "integer",
                lambda r: r.choice((6, 10, 12, 20, 100)),
                "largest number",
            ),
        ),
        "{roll a die with [0] sides|roll a [0] sided die|give me a random number up to [0]|pick a"
        " number from 1 to [0]}",
        (('{"value": [n]}', "It is [n]."),),
    ),
)
