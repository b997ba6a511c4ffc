"""What Headrace promises, tried on this machine: parity, books, schemas, speed, in one page."""

from headrace.prove.kills import prove_books
from headrace.prove.page import page
from headrace.prove.parity import prove_parity
from headrace.prove.point import Point
from headrace.prove.roofline import prove_roofline
from headrace.prove.schemas import prove_schemas

__all__ = [
    "Point",
    "page",
    "prove_books",
    "prove_parity",
    "prove_roofline",
    "prove_schemas",
]
