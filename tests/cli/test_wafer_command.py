"""`headrace wafer`: real tokens, what lies where, and what was published."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headrace.backends.reference import ReferenceBackend
from headrace.cli.commands import app
from headrace.errors import ConfigError, InvalidRequest, OutOfSram
from headrace.model import bundled_model, open_model
from tests.tiny_llama import rows_batch


def test_its_tokens_are_those_of_the_reference() -> None:
    arguments = ["wafer", "run", "--mesh", "32x32", "--max-tokens", "5", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    opened = open_model(bundled_model())
    reference = ReferenceBackend(opened.program, opened.weights, num_blocks=4)
    ids, tables = found["prompt_ids"], np.arange(4, dtype=np.int32)[None]
    for _ in range(5):
        drawn = reference.step(rows_batch({0: (0, ids)}, tables)).token_ids[-1]
        ids = [*ids, int(drawn)]
    assert ids[len(found["prompt_ids"]) :] == found["token_ids"]
    assert sum(r["columns"] * r["rows"] for r in found["regions"]) == 32 * 32
    assert found["cache_tokens"] >= len(ids)
    assert all(0 < r["fill"] <= 1 for r in found["regions"])
    assert found["facts"]["relay_cycles"]["certainty"] == "L"
    modelled = found["modelled"]
    assert sum(modelled["by_cause"].values()) == pytest.approx(modelled["cycles"])
    assert sum(modelled["by_stage"].values()) == pytest.approx(modelled["cycles"])
    assert modelled["tok_s"] == pytest.approx(1.1e9 / modelled["cycles"])
    stages = [moved["stage"] for moved in modelled["by_events"]]
    assert stages == ["embedding", *(f"layer {i}" for i in range(6)), "head"]
    for moved in modelled["by_events"]:
        assert moved["cycles"] == pytest.approx(moved["closed_form_cycles"], rel=0.02)


def test_people_get_the_text_and_a_table() -> None:
    arguments = ["wafer", "run", "--mesh", "32x32", "--max-tokens", "2"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert shown.startswith("Once upon a time")
    assert "layer 5" in shown
    assert "(A: " in shown, "assumptions are shown as such"


@pytest.mark.parametrize(
    ("options", "error"),
    [(["--mesh", "16x16"], OutOfSram), (["--max-tokens", "99999"], InvalidRequest)],
)
def test_what_does_not_fit_is_refused(options: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        CliRunner().invoke(app, ["wafer", "run", *options], catch_exceptions=False)


def test_validation_gives_every_row_with_its_error() -> None:
    arguments = ["wafer", "validate", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert found["misses"] == sum(not row["is_hit"] for row in found["rows"]) > 0
    for row in found["rows"]:
        assert row["error"] == pytest.approx(row["modelled"] / row["published"] - 1)
        if row["interval"] is None:
            assert row["is_hit"] == (abs(row["error"]) <= row["goal"])
        else:
            low, high = row["interval"]
            assert row["is_hit"] == (low <= row["published"] <= high < 3 * low)
        assert row["source"]


def test_people_see_misses_as_misses() -> None:
    arguments = ["wafer", "validate"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "held out, MISS" in shown
    assert "mesh of 750 assumed" in " ".join(shown.split())


def test_pictures_are_written_as_svg_and_png(tmp_path: Path) -> None:
    arguments = ["wafer", "run", "--mesh", "32x32", "--max-tokens", "1", "--no-events", "--json"]
    shown = CliRunner().invoke(app, [*arguments, "--pictures", str(tmp_path / "run")])
    found = json.loads(shown.stdout)
    assert found["modelled"]["by_events"] == []
    shown = CliRunner().invoke(
        app, ["wafer", "validate", "--pictures", str(tmp_path / "rows"), "--json"]
    )
    files = [Path(file) for file in found["pictures"] + json.loads(shown.stdout)["pictures"]]
    assert len(files) == 10
    for file in files:
        content = file.read_bytes()
        assert len(content) > 10_000
        assert content.startswith(b"\x89PNG" if file.suffix == ".png" else b"<?xml")
    floorplan = (tmp_path / "run" / "floorplan.svg").read_text()
    assert all(f"layer {i}" in floorplan for i in range(6))


def test_pictures_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ["wafer", "validate", "--pictures", str(tmp_path / "file")]
    with pytest.raises(ConfigError, match="pictures cannot be written to"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[pictures\]'"):
        CliRunner().invoke(app, ["wafer", "validate", "--pictures", "p"], catch_exceptions=False)
