"""The HTTP edge: the OpenAI-compatible API over any provider.

What is named here is imported when somebody asks for it: a port is bound before the rest is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.api.app import App, build_app
    from headrace.api.listener import address, bind
    from headrace.api.server import HttpServer

__all__ = ["App", "HttpServer", "address", "bind", "build_app"]

_MODULES = {
    "App": "app",
    "HttpServer": "server",
    "address": "listener",
    "bind": "listener",
    "build_app": "app",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
