"""The console's addresses: static files under a policy that runs and loads only our own.

A page is one row of `PAGES`. Its file holds `<!--shell-->` where the navigation goes, which is made
of the same rows. All files are read once; an address names one of them or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

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
_HTML = "text/html; charset=utf-8"
_ASSETS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MARK = "<!--shell-->"
_LINKS = "<!--links-->"

# Who is shown a page's link: everybody, whoever has accounts to sign in to, who runs the server.
For = Literal["all", "accounts", "operators"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its address, its file, its link in the navigation."""

    path: str
    file: str
    name: str  # of its link
    group: str = ""  # the heading its link stands under; "": no link
    shown_to: For = "all"


# In the order of the navigation; the pages of a group stand together.
PAGES = (
    Page(path="/console", file="index.html", name="Playground", group="Run"),
    Page(path="/console/models", file="models.html", name="Models", group="Run"),
    Page(path="/console/status", file="status.html", name="Status", group="Run"),
    Page(path="/console/machines", file="machines.html", name="Machines", group="Run"),
    Page(path="/console/wafer", file="wafer.html", name="Wafer", group="Run"),
    Page(path="/console/keys", file="keys.html", name="Keys", group="Account", shown_to="accounts"),
    Page(
        path="/console/usage", file="usage.html", name="Usage", group="Account", shown_to="accounts"
    ),
    Page(
        path="/console/billing",
        file="billing.html",
        name="Billing",
        group="Account",
        shown_to="accounts",
    ),
    Page(
        path="/console/limits",
        file="limits.html",
        name="Limits",
        group="Account",
        shown_to="accounts",
    ),
    Page(
        path="/console/people",
        file="people.html",
        name="People",
        group="Account",
        shown_to="accounts",
    ),
    Page(
        path="/console/admin",
        file="admin.html",
        name="Administration",
        group="Server",
        shown_to="operators",
    ),
    Page(path="/console/sign-in", file="sign-in.html", name="Sign in"),
    Page(path="/console/sign-up", file="sign-up.html", name="Sign up"),
    Page(path="/docs", file="docs.html", name="Guide", group="Help"),
)


def pages() -> Sequence[BaseRoute]:
    """The routes of the console and the guide. They need no key: what they show does."""
    static = files("headrace.console").joinpath("static")
    shell = static.joinpath("shell.html").read_text("utf-8")
    routes = [_route(page.path, _content(static, shell, page), _HTML) for page in PAGES]
    for file in sorted(static.iterdir(), key=lambda file: file.name):
        kind = _ASSETS.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            routes.append(_route(f"/console/{file.name}", file.read_bytes(), kind))
    return routes


def _content(static: Traversable, shell: str, page: Page) -> bytes:
    """A page with its navigation."""
    html = static.joinpath(page.file).read_text("utf-8")
    return html.replace(_MARK, shell.replace(_LINKS, _links(page)), 1).encode()


def _links(here: Page) -> str:
    """The navigation as it stands on one page; who may see what, the page's script decides."""
    lines: list[str] = []
    group = ""
    for page in PAGES:
        if not page.group:
            continue
        if page.group != group:
            lines += ["</ul>"] if group else []
            group = page.group
            name = escape(group)
            lines += [f"<h2>{name}</h2>", f'<ul aria-label="{name}">']
        current = ' aria-current="page"' if page is here else ""
        hidden = "" if page.shown_to == "all" else " hidden"
        lines.append(
            f'<li data-shown-to="{page.shown_to}"{hidden}>'
            f'<a href="{escape(page.path)}"{current}>{escape(page.name)}</a></li>'
        )
    return "\n".join([*lines, "</ul>"])


def _route(path: str, content: bytes, media_type: str) -> Route:
    async def page(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return Route(path, page)
