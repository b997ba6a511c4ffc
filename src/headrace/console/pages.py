"""The console's addresses: static files under a policy that runs and loads only our own.

The files are read once; an address names a file of this list or nothing.
"""

from collections.abc import Sequence
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_PAGES = {"/console": "index.html", "/console/wafer": "wafer.html", "/docs": "docs.html"}
_STYLE = "text/css; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_ASSETS = {
    "app.js": _SCRIPT,
    "api.js": _SCRIPT,
    "meter.js": _SCRIPT,
    "snippets.js": _SCRIPT,
    "view.js": _SCRIPT,
    "wafer.js": _SCRIPT,
    "wafer_mesh.js": _SCRIPT,
    "wafer.css": _STYLE,
    "style.css": _STYLE,
    "mark.svg": "image/svg+xml",
}


def pages() -> Sequence[BaseRoute]:
    """The routes of the console and the guide. They need no key: what they show does."""
    routes = [_route(path, name, "text/html; charset=utf-8") for path, name in _PAGES.items()]
    routes += [_route(f"/console/{name}", name, kind) for name, kind in _ASSETS.items()]
    return routes


def _route(path: str, name: str, media_type: str) -> Route:
    content = files("headrace.console").joinpath("static", name).read_bytes()

    async def page(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return Route(path, page)
