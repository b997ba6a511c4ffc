"""The HTTP edge: the OpenAI-compatible API over any provider."""

from headrace.api.app import App, build_app
from headrace.api.server import HttpServer, address, bind

__all__ = ["App", "HttpServer", "address", "bind", "build_app"]
