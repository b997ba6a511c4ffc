"""`bench run` and `bench race` as programs use them, against the null server on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.bench.null_script import NullScript
from headrace.bench.null_server import NullServer
from headrace.bench.report import read_lines
from headrace.cli.bench import bench_app
from headrace.errors import ConfigError

QUICK = "--no-calibration"


@pytest.fixture(scope="module")
def null_urls() -> Iterator[list[str]]:
    """Two null servers, in a thread of their own."""
    urls: list[str] = []
    is_ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        servers = [NullServer(NullScript(first_s=s, gap_s=0.001, tokens=8)) for s in (0.0, 0.03)]
        urls.extend([await server.start() for server in servers])
        is_ready.set()
        await over.wait()
        for server in servers:
            await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    is_ready.wait()
    yield urls
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def headrace(*arguments: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(bench_app, arguments)
    return done.exit_code, done.stdout, done.exception


def test_a_run_prints_one_object_and_writes_both_files(
    null_urls: list[str], tmp_path: Path
) -> None:
    urls = [word for url in null_urls for word in ("--url", url)]
    chosen = ("--scenario", "short", "--scenario", "tool-call", "--tasks", "7")
    code, out, _ = headrace("run", *urls, *chosen, "--out", str(tmp_path / "r/a"), "--json")
    assert code == 0
    found = json.loads(out)
    assert [(c["scenario"], c["tasks"]) for c in found["cells"]] == [
        ("short", 7), ("short", 7), ("tool-call", 7), ("tool-call", 7),
    ]  # fmt: skip
    assert [(c["scenario"], c["tasks"]) for c in found["totals"]] == [("total", 14)] * 2
    hosts = sorted(url.removeprefix("http://") for url in null_urls)
    assert sorted(found["facts"]["endpoints"]) == hosts
    slow = null_urls[1].removeprefix("http://")
    ttft = {c["endpoint"]: c["ttft"]["p50"]["value"] for c in found["cells"][:2]}
    assert ttft[slow] >= 0.03
    assert found["cells"][2]["structured_errors"]["wrong tool"] == 1.0  # it only talks
    assert "measured as" in found["facts"]["settings"]["calibration"]
    read = read_lines(tmp_path / "r/a.jsonl")
    assert len(read.attempts) == 28
    assert (tmp_path / "r/a.html").read_text().startswith("<!doctype html>")


def test_a_race_prints_who_came_in_how(null_urls: list[str], tmp_path: Path) -> None:
    urls = [word for url in null_urls for word in ("--url", url)]
    urls += ["--name", "left", "--name", "right"]
    code, out, _ = headrace("race", *urls, "--rounds", "2", "--out", str(tmp_path / "r"), "--json")
    assert code == 0
    places = json.loads(out)["places"]
    assert [place["rounds"] for place in places] == [2, 2]
    assert {place["endpoint"] for place in places} == {"left", "right"}
    html = (tmp_path / "r.html").read_text()
    assert "The race" in html
    assert "All endpoints at the same time" in html


def test_what_a_run_recorded_is_replayed_to_another_endpoint(
    null_urls: list[str], tmp_path: Path
) -> None:
    asked = ("--scenario", "short", "--tasks", "9", "--out", str(tmp_path / "a"), QUICK)
    assert headrace("run", "--url", null_urls[0], *asked)[0] == 0
    log = str(tmp_path / "a.requests.jsonl")
    again = ("replay", log, "--url", null_urls[1], "--name", "new", "--out", str(tmp_path / "b"))
    code, out, _ = headrace(*again, "--one-by-one", "--json")
    assert code == 0
    found = json.loads(out)
    assert [(c["endpoint"], c["tasks"]) for c in found["cells"]] == [("new", 10), ("the log", 10)]
    first = next(c for c in found["comparisons"] if c["metric"] == "TTFT, s")
    assert (first["first"], first["second"]) == ("new", "the log")
    assert first["difference"]["high"] < 0  # the new one waits 30 ms, the old one did not
    assert found["likenesses"][0]["same"]["value"] == 1
    html = (tmp_path / "b.html").read_text()
    assert "Answers, in pairs" in html
    assert "Of a log, at this pace: one by one" in html
    code, out, _ = headrace(*again, "--dry-run", "--json")
    (row,) = json.loads(out)["would_send"]
    assert (row["tasks"], row["answer_tokens"]) == (10, 10 * 64)
    assert isinstance(headrace(*again, "--name", "the log", "--model", "m")[2], ConfigError)


def test_several_processes_share_the_load(null_urls: list[str], tmp_path: Path) -> None:
    asked = ("--scenario", "mix", "--stage-s", "1", "--processes", "2", QUICK)
    code, out, _ = headrace(
        "run", "--url", null_urls[1], *asked, "--out", str(tmp_path / "a"), "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert [c["stage"] for c in found["cells"]] == ["50%", "80%", "100%", "120%"]
    assert set(found["facts"]["lags"]) == {"mix, process 1", "mix, process 2"}
    assert found["facts"]["settings"]["processes"] == 2


def test_a_dry_run_says_what_it_would_cost_at_most(tmp_path: Path) -> None:
    prices = tmp_path / "p.toml"
    prices.write_text(
        '[models.m]\ninput = 1.0\noutput = 10.0\ncurrency = "EUR"\ndate = 2026-11-01\n'
        'source = "a test"\n'
    )
    asked = ("run", "--url", "http://127.0.0.1:9", "--dry-run", "--json", "--prices", str(prices))
    code, out, _ = headrace(*asked, "--model", "m", "--tasks", "3")
    assert code == 0
    rows = {row["scenario"]: row for row in json.loads(out)["would_send"]}
    # Three dialogues of eight turns, 600 words at most each of two tokens, and 48 tokens of answer.
    assert rows["dialogue"]["cost"] == pytest.approx(3 * 8 * (600 * 2 * 1.0 + 48 * 10.0) / 1e6)
    assert (rows["mix"]["cost"], rows["short"]["currency"]) == (None, "EUR")
    assert "no price of n" in str(headrace(*asked, "--model", "n")[2])


def test_a_dry_run_sends_nothing() -> None:
    code, out, _ = headrace(
        "run", "--url", "http://127.0.0.1:9", "--dry-run", "--json", "--tasks", "3"
    )
    assert code == 0
    plan = {row["scenario"]: row["tasks"] for row in json.loads(out)["would_send"]}
    assert plan["dialogue"] == 3
    assert plan["mix"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--url", "http://127.0.0.1:9"), "no answer from http://127.0.0.1:9"),
        (("--url", "http://a", "--scenario", "longest"), "no scenario 'longest'"),
        (
            ("--url", "http://a", "--url", "http://b", *("--model", "m") * 3),
            "--model: give it once",
        ),
        (("--url", "URL", "--name", "a", "--name", "b"), "--name: one for each"),
        (("--url", "http://a", "--max-cost", "1"), "--max-cost needs --prices"),
        (("--url", "http://a", "--key-file", "/no/such/file"), "key file /no/such/file"),
        (("--url", "http://a", "--prices", "/no/such/file"), "price table /no/such/file"),
        (("--url", "http://a", "--tokenizer", "/no/such/file"), "tokenizer /no/such/file"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: tuple[str, ...], told: str, null_urls: list[str]
) -> None:
    _, _, error = headrace("run", *(a.replace("URL", null_urls[0]) for a in arguments))
    assert isinstance(error, ConfigError)
    assert told in str(error)


def test_money_is_guarded_only_where_every_price_is_known(
    null_urls: list[str], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"

    def run(model: str, currency: str = "EUR") -> tuple[int, str, BaseException | None]:
        price = 'input = 1000\noutput = 1000\ndate = 2026-11-01\nsource = "a test"\ncurrency ='
        prices.write_text(
            f'[models.{model}]\n{price} "EUR"\n[models.other]\n{price} "{currency}"\n'
        )
        guard = ("--prices", str(prices), "--max-cost", "0.4", "--scenario", "short", QUICK)
        return headrace(
            "run", "--url", null_urls[0], *guard, "--out", str(tmp_path / "r"), "--json"
        )

    assert "has no price of null" in str(run("someone")[2])
    assert "several currencies" in str(run("null", "USD")[2])
    code, out, _ = run("null")
    assert code == 0
    found = json.loads(out)
    assert "short: cut short, the budget is spent" in found["facts"]["notes"]
    assert found["cells"][0]["tasks"] < 20  # of 48; a task is some 20 tokens, a thousandth each


def test_a_broken_limit_is_the_exit_status(null_urls: list[str], tmp_path: Path) -> None:
    limits, report, tasks = tmp_path / "l.toml", tmp_path / "j.xml", tmp_path / "mine.jsonl"
    tasks.write_text('{"prompt":"go on","regex":"the ship"}\n' * 6)
    asked = ("run", "--url", null_urls[1], "--dataset", str(tasks), QUICK)
    asked += ("--out", str(tmp_path / "r"))
    limits.write_text(
        '[[limits]]\nscenario = "mine"\nmetric = "success"\nat_least = 1\n'
        '[[limits]]\nscenario = "mine"\nmetric = "ttft_p50_ms"\nat_most = 60000\n'
    )
    assert headrace(*asked, "--limits", str(limits), "--junit", str(report))[0] == 0
    assert 'failures="0"' in report.read_text()
    limits.write_text(limits.read_text().replace("60000", "20"))  # the script says 30
    assert headrace(*asked, "--limits", str(limits), "--junit", str(report))[0] == 1
    assert 'failures="1"' in report.read_text()
