"""The page and the command: what is green, what is red, and how to see it again."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import run
from headrace.prove import Point, page
from headrace.prove.point import MOST_FAULTS, first_of

GREEN = Point(
    name="parity",
    claim="<script>alert(1)</script> & so on.",
    faults=(),
    facts=(("rows", "95"), ("<b>", "<i>")),
    command="headrace prove 'a<b' --only parity",
)
RED = replace(GREEN, name="books", faults=("<img src=x onerror=y> is red",))


def test_the_page_says_what_holds_and_what_does_not() -> None:
    text = page([GREEN, RED], title="On <m>", told="1.0 & co")
    assert "1 of 2 points hold" in text
    assert '<span class="mark good">holds</span> parity' in text
    assert '<span class="mark bad">does not hold</span> books' in text
    assert text.count("headrace prove &#x27;a&lt;b&#x27; --only parity") == 2
    assert "2 of 2 points hold" in page([GREEN, GREEN], title="", told="")


def test_nothing_in_the_page_runs_or_comes_from_elsewhere() -> None:
    text = page([GREEN, RED], title="<script>", told="<script>")
    assert not re.search(r"<(script|img|iframe|link|b|i)\b", text)
    assert not re.search(r"https?:|url\(|@import|\bon\w+=\"", text)
    assert "default-src 'none'" in text


def test_some_faults_are_told_and_the_rest_counted() -> None:
    assert first_of(["a"] * MOST_FAULTS) == ["a"] * MOST_FAULTS
    assert first_of(["a"] * 1_007)[-1] == f"and {1_007 - MOST_FAULTS:,} more"


def test_the_command_writes_the_page_and_ends_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert run(["prove", "--only", "parity", "--out", str(out), "--json"]) == 0
    said: Any = json.loads(capsys.readouterr().out)
    assert [(point["name"], point["is_green"]) for point in said["points"]] == [("parity", True)]
    assert said["page"] == str(out)
    assert "1 of 1 points hold" in out.read_text()


def test_a_red_point_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def red(*_: object) -> Point:
        return RED

    monkeypatch.setattr("headrace.cli.prove.prove_parity", red)
    out = tmp_path / "page.html"
    assert run(["prove", "--only", "parity", "--out", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["points"][0]["is_green"] is False
    assert "0 of 1 points hold" in out.read_text()
