"""Requests to tokens: token ids in, token ids out, over the messages of `engine.messages`."""

from headrace.engine.engine import Engine
from headrace.engine.sizes import resolve_num_blocks
from headrace.engine.thread import EngineThread

__all__ = ["Engine", "EngineThread", "resolve_num_blocks"]
