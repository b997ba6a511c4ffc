"""Requests to tokens: token ids in, token ids out, over the messages of `engine.messages`.

What is named here is imported when somebody asks for it: whoever only launches a process, and the
process itself, need not wait for the rest.
"""

from typing import TYPE_CHECKING

from headrace.lazy import lazily

if TYPE_CHECKING:
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

__getattr__ = lazily(
    __name__,
    {
        "Engine": "engine",
        "EngineClient": "client",
        "OpenEngine": "supervisor",
        "build_backend": "build",
        "build_engine": "build",
        "plan_caches": "build",
        "start_child": "child",
    },
)
