"""The files of ops/: what they name is there, and what they rely on holds."""

import configparser
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.api import build_app
from headrace.api.server import FAREWELL_S
from headrace.clock import ManualClock
from headrace.config import ApiConfig, Config
from headrace.engine.messages import Stats
from headrace.telemetry.metrics import OF_ENGINES, OF_REQUESTS
from tests.api.exchange import call, chat
from tests.scripted import CARD, ScriptedProvider

ROOT = Path(__file__).parents[1]
OPS = ROOT / "ops"
PAGE = (ROOT / "docs" / "operations.md").read_text()
LABELS = {m.name: set(m.labels) for m in (*OF_REQUESTS, *OF_ENGINES)}
METRIC = re.compile(r"\b((?:headrace|process)_[a-z0-9_]+)")
SELECTED = re.compile(r"\b(headrace_[a-z0-9_]+)\{([^}]*)\}")
GROUPED = re.compile(r"sum by \(([^)]*)\) \(([^)]*)")
OF_EACH = {"le", "instance", "job", "version"}  # of histograms, of the scraper, of the build


def text_of(name: str) -> str:
    return (OPS / name).read_text()


def dashboard() -> dict[str, Any]:
    return json.loads(text_of("grafana.json"))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """All of the dashboard, and of the alerts."""
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    listed = [v["query"]["query"] for v in dashboard()["templating"]["list"][1:]]
    return [*drawn, *listed, *alerts().values()]


def alerts() -> dict[str, str]:
    text = text_of("alerts.yml")
    found = re.findall(r"- alert: (\w+)\n +expr: (.+)\n", text)
    assert len(found) == text.count("- alert:")
    return dict(found)


def scraped() -> set[str]:
    """Every name a scraper meets after one request: of families, and of their samples."""
    app = build_app(
        ScriptedProvider("a", "b"),
        None,
        Config(home=Path("/nonexistent")),
        ManualClock(),
        read_stats=lambda: {CARD.id: Stats()},
    )
    assert chat(app).status == 200
    names: set[str] = set()
    for family in text_string_to_metric_families(call(app, "GET", "/metrics").body.decode()):
        total = "_total" if family.type == "counter" else ""
        names |= {family.name + total, *(sample.name for sample in family.samples)}
    return names


def of_family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_every_metric_that_is_drawn_or_watched_is_scraped() -> None:
    names = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(names) > 20
    assert names <= scraped()


def test_every_metric_of_ours_is_drawn() -> None:
    drawn = {of_family(n) for expression in expressions() for n in METRIC.findall(expression)}
    assert set(LABELS) <= drawn


def test_every_label_is_one_of_its_metric() -> None:
    for expression in expressions():
        for name, selectors in SELECTED.findall(expression):
            wanted = set(re.findall(r"(\w+)=", selectors))
            assert wanted <= LABELS.get(of_family(name), set()) | OF_EACH, expression
        for labels, inner in GROUPED.findall(expression):
            (name,) = METRIC.findall(inner)
            assert set(re.split(r", *", labels)) <= LABELS[of_family(name)] | OF_EACH, expression
        assert all(expression.count(a) == expression.count(b) for a, b in ("()", "{}", "[]"))


def test_panels_fill_the_page_and_none_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    rows = {y for _, y in taken}
    assert len(taken) == 24 * len(rows) == 24 * (max(rows) + 1)


def test_every_alert_has_its_line_in_the_runbook() -> None:
    assert alerts()
    for name in alerts():
        assert f"| `{name}` |" in PAGE


@pytest.fixture
def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(OPS / "headrace.service")
    return parser["Service"]


def test_the_unit_waits_for_the_drain_and_reloads_by_the_right_signal(
    unit: configparser.SectionProxy,
) -> None:
    assert int(unit["TimeoutStopSec"]) >= math.ceil(ApiConfig().drain_s) + FAREWELL_S + 5
    assert unit["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert unit["KillMode"] == "mixed", "SIGTERM is the front's alone"
    assert int(unit["RestartPreventExitStatus"]) == 2, "the exit status of wrong settings"


@pytest.mark.parametrize("name", ["headrace.service", "headrace-backup.service"])
def test_the_commands_of_units_are_ours(name: str) -> None:
    (command,) = re.findall(r"^ExecStart=.*/headrace/bin/headrace (.+)$", text_of(name), re.M)
    check_command(command.split())


def test_the_container_s_command_is_ours_and_what_it_copies_is_there() -> None:
    text = text_of("Containerfile")
    (command,) = re.findall(r"^CMD (\[.+\])$", text, re.MULTILINE)
    check_command(json.loads(command))
    for sources in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *paths, _ = sources.split()
        assert all((ROOT / path).exists() for path in paths), sources


def check_command(words: list[str]) -> None:
    """A command of ours, whose options there are."""
    from typer.main import get_command

    from headrace.cli.commands import app

    group: Any = get_command(app)
    command = group.get_command(None, words[0])
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_page_names_every_file() -> None:
    for file in OPS.iterdir():
        assert f"../ops/{file.name}" in PAGE, file
