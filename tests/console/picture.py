"""Takes the README's picture of the console: `python -m tests.console.picture URL FILE`."""

import base64
import sys
from pathlib import Path

from tests.console.browser import browser

QUESTIONS = ("What is a headrace?", "What is TTFT?", "What is a KV cache?")
ENTER = "\ue007"
SCREEN = {"width": 1280, "height": 800, "deviceScaleFactor": 1.5, "mobile": False}


def main(url: str, file: Path) -> None:
    with browser() as page:
        page.cdp("Emulation.setDeviceMetricsOverride", **SCREEN)
        page.open(f"{url}/console")
        page.wait_for("!document.querySelector('#prompt').disabled")
        for count, question in enumerate(QUESTIONS, start=1):
            page.type("#prompt", question + ENTER)
            page.wait_for(f"document.querySelectorAll('.stats').length === {count}")
        page.run("void document.activeElement.blur()")
        picture = page.cdp("Page.captureScreenshot", format="png")["data"]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(base64.b64decode(picture))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
