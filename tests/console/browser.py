"""A headless browser, driven over the WebDriver protocol: plain HTTP to chromedriver."""

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WAIT_S = 30.0

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_WATCH_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective));
window.addEventListener("error", (e) => violations.push(String(e.message)));
"""


class Browser:
    """One window."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http = http
        self._session = session

    def _post(self, path: str, **body: Any) -> Any:
        answer = self._http.post(f"/session/{self._session}{path}", json=body)
        value = answer.json()["value"]
        assert answer.is_success, value
        return value

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._post("/execute/sync", script=f"return {script}", args=[])

    def cdp(self, command: str, **params: Any) -> Any:
        return self._post("/goog/cdp/execute", cmd=command, params=params)

    def wait_for(self, script: str) -> Any:
        """Until a JavaScript expression is true in the page; its value."""
        poll = f"""
            const done = arguments[0];
            const look = () => {{
              const value = {script};
              if (value) done(value); else requestAnimationFrame(look);
            }};
            look();
        """
        return self.run_async(poll)

    def run_async(self, script: str) -> Any:
        """What a script in the page gives to `arguments[0]`, at last."""
        return self._post("/execute/async", script=script, args=[])

    def text(self, css: str) -> str:
        return self.run(f"document.querySelector({css!r}).innerText")

    def type(self, css: str, text: str) -> None:
        found = self._post("/element", using="css selector", value=css)[_ELEMENT]
        self._post(f"/element/{found}/value", text=text)

    def click(self, css: str) -> None:
        found = self._post("/element", using="css selector", value=css)[_ELEMENT]
        self._post(f"/element/{found}/click")

    @property
    def violations(self) -> list[str]:
        """Broken rules of the content policy, and uncaught errors, on this page."""
        return self.run("window.violations")


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Generator[Browser, None, None]:
    """A browser for as long as the block runs."""
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        said = next(line for line in driver.stdout if "successfully on port" in line)
        port = int(said.split("on port ")[1].strip(" .\n"))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            session = _session(http, width, height)
            try:
                made = Browser(http, session)
                made.cdp("Page.addScriptToEvaluateOnNewDocument", source=_WATCH_VIOLATIONS)
                yield made
            finally:
                http.delete(f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait()
        if driver.stdout is not None:
            driver.stdout.close()


def _session(http: httpx.Client, width: int, height: int) -> str:
    options = {
        "binary": CHROMIUM,
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},{height}",
        ],
    }
    wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
    answer = http.post("/session", json={"capabilities": wanted})
    assert answer.is_success, answer.text
    session = answer.json()["value"]["sessionId"]
    http.post(f"/session/{session}/timeouts", json={"script": int(WAIT_S * 1e3)})
    return session
