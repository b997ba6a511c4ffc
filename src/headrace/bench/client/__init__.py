"""One request over the wire: what arrived when, and what it meant."""

from headrace.bench.client.answer import Answer, Piece, ToolCall, read_answer
from headrace.bench.client.exchange import Exchange, Transport
from headrace.bench.client.http import HttpTransport

__all__ = [
    "Answer",
    "Exchange",
    "HttpTransport",
    "Piece",
    "ToolCall",
    "Transport",
    "read_answer",
]
