"""Does the playground keep up? Its own tokens a second against a raw client's, interleaved.

    python benchmarks/bench_playground.py [--like 15m] [--rounds 9] [--tokens 1900] [--threads 0]

One server, one stream at a time. Each round asks the same greedy question: in the playground of a
headless Chromium (Debian's `chromium` and `chromium-driver`), with a compiled epoll loop
(`loopback_reader.cpp`), in an order that turns round, and in the playground once more, watched.
Speeds are (tokens - 1) / (last - first token), the page's as it shows it. A frame is the time
between two calls of `requestAnimationFrame` while the watched answer comes; who asks for every
frame makes the browser paint sixty times a second, so that answer's speed does not count. What the
browser itself calls a long animation frame is counted from the moment of asking on: before it, a
question is typed as fast as a driver can. Everything runs on the same cores, so
the page's own work slows what it shows.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loopback_client import Server, serving
from loopback_reader import chat, read_streams
from machine import CpuSeconds, commit, describe

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.console.browser import Browser, browser  # noqa: E402 (its folder is not ours)

MAKE_CHECKPOINT = ROOT / "tools" / "make_random_checkpoint.py"
PROMPT = "Tell me a long story about a mill by the river."
# Told by the page itself: a look from here now and then would be work of the browser's.
UNTIL_ENDED = """
const done = arguments[0];
const look = (_, observer) => {
  if (!document.querySelector(".stats")) return;
  observer.disconnect();
  done();
};
const observer = new MutationObserver(look);
observer.observe(document.querySelector("#conversation"), { childList: true, subtree: true });
look([], observer);
"""
ENTER = "\ue007"
WATCH = """
window.frameTimes = [];
window.longFrames = [];
window.askedAt = Infinity;
window.watchFrames = (before) => {
  const look = (now) => {
    if (before !== undefined) frameTimes.push(now - before);
    before = now;
    if (!document.querySelector(".stats")) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
};
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    if (startTime >= askedAt) longFrames.push(duration);
  }
}).observe({ type: "long-animation-frame" });
"""


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--like", default="15m", help="a shape of tools/make_random_checkpoint.py")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=1_900, help="of each answer")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0: its own choice")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = Path(folder) / given.like
        made = (sys.executable, str(MAKE_CHECKPOINT), "--like", given.like, "--out", str(model))
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        quiet = ("--no-auth", "--log-level", "warning", "--threads", str(given.threads))
        with serving(str(model), *quiet) as server, browser() as page:
            page.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
            page.open(f"http://127.0.0.1:{server.port}/console")
            page.wait_for("!document.querySelector('#prompt').disabled")
            rounds = [one_round(server, page, given, n) for n in range(-1, given.rounds)][1:]
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "model": given.like,
        "threads": given.threads,
        "tokens": given.tokens,
        "rounds": rounds,
        "median_ratio": round(statistics.median(row["ratio"] for row in rounds), 4),
        "longest_frame_ms": max(row["longest_frame_ms"] for row in rounds),
    }
    print(json.dumps(report, indent=1))


def one_round(
    server: Server, page: Browser, given: argparse.Namespace, number: int
) -> dict[str, Any]:
    """Both speeds, tokens a second, and the frames of a watched answer, ms."""
    before = CpuSeconds.now()
    page.run("void (frameTimes.length = longFrames.length = 0)")
    ways = {"page": lambda: in_page(page, given.tokens), "raw": lambda: raw(server, given)}
    found: dict[str, Any] = {}
    for way in list(ways)[:: -1 if number % 2 else 1]:
        found |= ways[way]()
    found |= watched(page, given.tokens)
    found["ratio"] = round(found["page_tok_s"] / found["raw_tok_s"], 4)
    found["stolen"] = round(CpuSeconds.now().stolen_share(before), 4)
    sys.stderr.write(f"{number}: {found}\n")
    return found


def raw(server: Server, given: argparse.Namespace) -> dict[str, float]:
    """The compiled client's speed."""
    reading = read_streams(server.port, [chat(given.like, PROMPT, given.tokens)])
    return {"raw_tok_s": round(reading.tok_s, 1)}


def in_page(page: Browser, tokens: int) -> dict[str, float]:
    """The page's speed, and what the browser computed for a token."""
    worked_s = answer(page, tokens)
    return {
        "page_tok_s": float(page.text("#speed").replace(",", "")),
        "browser_cpu_us_a_token": round(1e6 * worked_s / tokens, 1),
    }


def watched(page: Browser, tokens: int) -> dict[str, float]:
    """The frames while an answer came."""
    answer(page, tokens, watch="watchFrames()")
    frames: list[float] = page.run("frameTimes")
    return {
        "frames": len(frames),
        "median_frame_ms": round(statistics.median(frames), 1),
        "longest_frame_ms": round(max(frames), 1),
        "long_frames": page.run("longFrames.length"),
    }


def answer(page: Browser, tokens: int, watch: str = "0") -> float:
    """An answer of so many tokens in the page; the browser's processor seconds for it."""
    page.click("#new-chat")
    page.run("void (askedAt = Infinity)")
    page.run(
        "(() => { const set = (id, value) => { const it = document.querySelector(id);"
        " it.value = value; it.dispatchEvent(new Event('input', {bubbles: true})); };"
        f" set('#temperature', 0); set('#max-tokens', {tokens}); }})()"
    )
    page.type("#prompt", PROMPT)
    page.run(f"void (askedAt = performance.now(), {watch})")
    worked_s = browser_cpu_s()
    page.type("#prompt", ENTER)
    page.run_async(UNTIL_ENDED)
    worked_s = browser_cpu_s() - worked_s
    shown = int(page.text("#tokens").replace(",", ""))
    if shown != tokens:
        raise ValueError(f"the page counted {shown} tokens, not {tokens}")
    return worked_s


def browser_cpu_s() -> float:
    """Processor seconds of our browser's processes so far; those that have ended are left out."""
    ticks = 0
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
        ticks += sum(map(int, rest.split()[11:13])) if name.startswith("chrom") else 0
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
