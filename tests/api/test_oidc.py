"""Log-in through an identity provider that runs on loopback and says what a test wants."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.routing import Route

from headrace.accounts import OPERATOR, AccountService, Role
from headrace.api import App, build_app
from headrace.clock import ManualClock
from headrace.config import AccountsConfig, Config, SignUp
from headrace.errors import ConfigError
from tests.accounts.office import office
from tests.api.exchange import Exchange, call
from tests.scripted import ScriptedProvider

KEY = RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)
OTHER = RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)
CALLBACK = "/console/api/oidc/callback"
Claims = dict[str, Any]
Sign = Callable[[Claims], str]


def by(key: Any, algorithm: str = "RS256") -> Sign:
    header = {"alg": algorithm, "kid": "one"}
    return lambda claims: jwt.encode(header, claims, key, algorithms=[algorithm])


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def by_hand(algorithm: str, secret: bytes | None) -> Sign:
    """As one forges: HMAC by what everybody knows, or nothing."""

    def sign(claims: Claims) -> str:
        header = json.dumps({"alg": algorithm, "kid": "one"}).encode()
        text = f"{part(header)}.{part(json.dumps(claims).encode())}"
        mark = b"" if secret is None else hmac.digest(secret, text.encode(), "sha256")
        return f"{text}.{part(mark)}"

    return sign


class Issuer:
    """Its answers; a test changes them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.claims: Claims = {}
        self.sign: Sign = by(KEY)
        self.asked: dict[str, str] = {}  # the last form at the token's address
        self.described: dict[str, str] = {}

    def answer(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            } | self.described
        if path == "/keys":
            return {"keys": [KEY.as_dict(private=False)]}
        return {"id_token": self.sign(self.claims), "token_type": "Bearer"}


@contextmanager
def running() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            issuer.asked = {k: v[0] for k, v in parse_qs(form).items()}
            issuer.asked["authorization"] = self.headers["authorization"]
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Browser:
    """Begins and ends log-ins."""

    def __init__(self, app: App, clock: ManualClock) -> None:
        self.app = app
        self.clock = clock
        self.cookie = ""
        self.state = ""
        self.nonce = ""
        self.challenge = ""

    def begin(self) -> dict[str, list[str]]:
        got = call(self.app, "GET", "/console/api/oidc/login")
        assert got.status == 302
        assert "HttpOnly" in got.headers["set-cookie"]
        self.cookie = got.headers["set-cookie"].partition(";")[0]
        asked = parse_qs(urlsplit(got.headers["location"]).query)
        self.state, self.nonce = asked["state"][0], asked["nonce"][0]
        self.challenge = asked["code_challenge"][0]
        return asked

    def end(self, state: str | None = None, cookie: str | None = None) -> Exchange:
        query = f"?code=abc&state={self.state if state is None else state}"
        cookie = self.cookie if cookie is None else cookie
        return call(self.app, "GET", CALLBACK + query, cookie=cookie)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running() as made:
        yield made


def config_of(issuer: Issuer, home: Path, **changes: Any) -> AccountsConfig:
    (home / "secret").write_text("s3cret\n")
    settings: dict[str, Any] = {
        "oidc_issuer": issuer.url,
        "oidc_client_id": "headrace",
        "oidc_client_secret_file": home / "secret",
        "oidc_redirect_url": f"http://localhost{CALLBACK}",
    }
    return AccountsConfig(**(settings | changes))


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock, issuer: Issuer) -> Iterator[AccountService]:
    with office(tmp_path, clock, config_of(issuer, tmp_path)) as made:
        made.users.create(
            OPERATOR,
            email="ann@example.com",
            name="Ann",
            role=Role.ADMIN,
            password_hash=None,
        )
        yield made


@pytest.fixture
def browser(
    accounts: AccountService, issuer: Issuer, clock: ManualClock, tmp_path: Path
) -> Browser:
    config = Config(home=tmp_path, accounts=config_of(issuer, tmp_path))
    return Browser(build_app(ScriptedProvider("x"), accounts, config, clock), clock)


def good(issuer: Issuer, browser: Browser) -> Claims:
    now = int(browser.clock.unix_s())
    return {
        "iss": issuer.url,
        "aud": "headrace",
        "sub": "ann",
        "iat": now,
        "exp": now + 60,
        "nonce": browser.nonce,
        "email": "ann@example.com",
        "email_verified": True,
        "name": "Ann",
    }


def test_who_the_provider_vouches_for_is_let_in(browser: Browser, issuer: Issuer) -> None:
    asked = browser.begin()
    assert asked["client_id"] == ["headrace"]
    issuer.claims = good(issuer, browser)
    got = browser.end()
    assert (got.status, got.headers["location"]) == (302, "/console")
    cookies = [v.decode() for k, v in got.messages[0]["headers"] if k == b"set-cookie"]
    session = next(each for each in cookies if each.startswith("headrace_session="))
    me = call(browser.app, "GET", "/console/api/me", cookie=session.partition(";")[0])
    assert me.json["user"]["email"] == "ann@example.com"
    assert issuer.asked["code"] == "abc"
    challenge = hashlib.sha256(issuer.asked["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(challenge).decode().rstrip("=") == browser.challenge
    client = base64.b64decode(issuer.asked["authorization"].removeprefix("Basic "))
    assert client == b"headrace:s3cret"


@pytest.mark.guards("D37")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["headrace", "another"], "azp": "another"},
        {"exp": 1_700_000_000},
        {"exp": "later"},
        {"nonce": "another"},
        {"nbf": 1_700_000_600},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": None},
    ],
    ids=str,
)
def test_a_token_for_another_purpose_lets_nobody_in(
    changes: Claims, browser: Browser, issuer: Issuer
) -> None:
    browser.begin()
    issuer.claims = good(issuer, browser) | changes
    assert browser.end().status == 401


@pytest.mark.guards("D37")
@pytest.mark.parametrize("missing", ["iss", "aud", "exp", "iat", "sub", "nonce", "email_verified"])
def test_a_token_that_leaves_something_out_lets_nobody_in(
    missing: str, browser: Browser, issuer: Issuer
) -> None:
    browser.begin()
    issuer.claims = {k: v for k, v in good(issuer, browser).items() if k != missing}
    assert browser.end().status == 401


@pytest.mark.guards("D37")
@pytest.mark.parametrize(
    "sign",
    [
        by(OTHER),
        by_hand("HS256", KEY.as_pem(private=False)),
        by_hand("HS256", b"s3cret"),
        by(KEY, "RS384"),
        by_hand("none", None),
        lambda _: "",
        lambda _: "a.b.c",
        lambda _: "\x00",
    ],
    ids=["other key", "public key", "secret", "RS384", "none", "empty", "rubbish", "nul"],
)
def test_a_token_that_is_signed_otherwise_lets_nobody_in(
    sign: Sign, browser: Browser, issuer: Issuer
) -> None:
    browser.begin()
    issuer.claims, issuer.sign = good(issuer, browser), sign
    assert browser.end().status == 401


@pytest.mark.guards("D37")
def test_a_log_in_is_ended_by_the_browser_that_began_it(browser: Browser, issuer: Issuer) -> None:
    browser.begin()
    issuer.claims = good(issuer, browser)
    value = browser.cookie.partition("=")[2]
    forged = (
        f"headrace_oidc={browser.state}.{browser.nonce}.v.9999999999.{value.rpartition('.')[2]}"
    )
    for cookie in ("", "headrace_oidc=", "headrace_oidc=x", forged):
        assert browser.end(cookie=cookie).status == 401
    for state in ("", "another"):
        assert browser.end(state=state).status == 401
    browser.clock.advance(601)
    issuer.claims = good(issuer, browser)
    assert browser.end().status == 401


@pytest.mark.guards("D37")
@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)
def test_a_description_that_leads_elsewhere_is_not_followed(
    described: dict[str, str], browser: Browser, issuer: Issuer
) -> None:
    issuer.described = described
    assert call(browser.app, "GET", "/console/api/oidc/login").status == 401


def test_a_stranger_comes_in_as_sign_up_says(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    for mode, status in ((SignUp.INVITATION, 403), (SignUp.CLOSED, 403), (SignUp.OPEN, 302)):
        settings = config_of(issuer, tmp_path, sign_up=mode)
        with office(tmp_path, clock, settings) as accounts:
            config = Config(home=tmp_path, accounts=settings)
            app = build_app(ScriptedProvider("x"), accounts, config, clock)
            browser = Browser(app, clock)
            browser.begin()
            issuer.claims = good(issuer, browser) | {"email": "zoe@example.com"}
            assert browser.end().status == status, mode
    with office(tmp_path, clock) as accounts:
        (zoe,) = accounts.users.everybody()
        assert (zoe.role, zoe.organisation_id != "org_default") == ("owner", True)


def test_an_invited_stranger_comes_in_with_his_role(
    browser: Browser, issuer: Issuer, accounts: AccountService
) -> None:
    accounts.users.invite(OPERATOR, "guest@example.com", Role.VIEWER)
    browser.begin()
    issuer.claims = good(issuer, browser) | {"email": "guest@example.com"}
    assert browser.end().status == 302
    roles = {user.email: user.role for user in accounts.users.everybody()}
    assert roles["guest@example.com"] == "viewer"


@pytest.mark.guards("D37")
def test_another_organisations_invitation_draws_nobody_in(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    settings = config_of(issuer, tmp_path, sign_up=SignUp.OPEN)
    with office(tmp_path, clock, settings) as accounts:
        work = accounts.sign_ups.by_oneself(
            email="eve@example.com", name="Eve", password="long enough for Eve", address=""
        )
        eve = asyncio.run(work)
        owner = replace(OPERATOR, organisation_id=eve.organisation_id)
        accounts.users.invite(owner, "zoe@example.com", Role.MEMBER)
        config = Config(home=tmp_path, accounts=settings)
        browser = Browser(build_app(ScriptedProvider("x"), accounts, config, clock), clock)
        browser.begin()
        issuer.claims = good(issuer, browser) | {"email": "zoe@example.com"}
        assert browser.end().status == 302
        zoe = next(user for user in accounts.users.everybody() if user.email[0] == "z")
        assert (zoe.role, zoe.organisation_id != eve.organisation_id) == ("owner", True)


def test_without_an_issuer_there_is_no_such_address(tmp_path: Path, clock: ManualClock) -> None:
    with office(tmp_path, clock) as accounts:
        app = build_app(ScriptedProvider("x"), accounts, Config(home=tmp_path), clock)
        paths = [route.path for route in app.routes if isinstance(route, Route)]
    assert not [path for path in paths if "oidc" in path]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"oidc_issuer": "http://login.example"}, "oidc_issuer' must be an https"),
        ({"oidc_redirect_url": ""}, "oidc_redirect_url' must be an https"),
        ({"oidc_client_id": ""}, "oidc_client_id' is missing"),
        ({"oidc_client_secret_file": Path("/nonexistent")}, "oidc_client_secret_file' cannot"),
    ],
)
def test_a_wrong_setting_is_named(
    changes: Claims, says: str, tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    config = Config(home=tmp_path, accounts=config_of(issuer, tmp_path, **changes))
    with office(tmp_path, clock) as accounts, pytest.raises(ConfigError, match=says):
        build_app(ScriptedProvider("x"), accounts, config, clock)
