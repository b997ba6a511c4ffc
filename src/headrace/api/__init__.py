"""The HTTP edge: the OpenAI-compatible API over any provider.

What is named here is imported when somebody asks for it: a port is bound before the rest is there.
"""

from typing import TYPE_CHECKING

from headrace.lazy import lazily

if TYPE_CHECKING:
    from headrace.api.app import App, build_app
    from headrace.api.listener import address, bind
    from headrace.api.server import HttpServer

__all__ = ["App", "HttpServer", "address", "bind", "build_app"]

__getattr__ = lazily(
    __name__,
    {
        "App": "app",
        "HttpServer": "server",
        "address": "listener",
        "bind": "listener",
        "build_app": "app",
    },
)
