"""What was used, and what it costs: integers, exactly once, after any crash."""

from headrace.metering.books import Balance, Books, Statement
from headrace.metering.meter import Meter, Metered, Payer, Unmetered, new_entry_id, recover
from headrace.metering.prices import FREE, Price, PriceList
from headrace.metering.slots import Reservation, Slots, copy_of, is_in_use

__all__ = [
    "FREE",
    "Balance",
    "Books",
    "Meter",
    "Metered",
    "Payer",
    "Price",
    "PriceList",
    "Reservation",
    "Slots",
    "Statement",
    "Unmetered",
    "copy_of",
    "is_in_use",
    "new_entry_id",
    "recover",
]
