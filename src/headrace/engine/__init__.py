"""Requests to tokens: token ids in, token ids out, over the messages of `engine.messages`."""

from headrace.engine.build import build_backend, build_engine, plan_caches
from headrace.engine.child import start_child
from headrace.engine.client import EngineClient
from headrace.engine.engine import Engine
from headrace.engine.supervisor import OpenEngine

__all__ = [
    "Engine",
    "EngineClient",
    "OpenEngine",
    "build_backend",
    "build_engine",
    "plan_caches",
    "start_child",
]
