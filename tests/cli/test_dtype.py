"""`--dtype`: fp32 checkpoints are rounded where it is asked for, and only there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_folder import write_folder

COMMANDS = [
    ["bench", "decode", "--prompt-tokens", "5", "--output-tokens", "4", "--runs", "1"],
    ["chat", "-m", "hi", "--temperature", "0", "--max-tokens", "4"],
    ["doctor"],
]


def headrace(home: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env={**os.environ, "HEADRACE_HOME": str(home), **variables},  # noqa: TID251
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [*COMMANDS, ["serve", "--port", "0"]], ids=" ".join)
def test_an_fp32_checkpoint_is_refused_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    folder = write_folder(tmp_path / "wide", matrices="F32", vectors="F32")
    done = headrace(tmp_path, *command, str(folder))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "model.embed_tokens.weight" in done.stderr
    assert "wide/model.safetensors" in done.stderr
    assert "--dtype bf16" in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_with_dtype_bf16_it_runs_and_the_report_says_how(
    tmp_path: Path, command: list[str]
) -> None:
    folder = write_folder(tmp_path / "wide", matrices="F32", vectors="F32")
    done = headrace(tmp_path, *command, str(folder), "--dtype", "bf16", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if command[0] != "chat":
        report = report.get("model") if command[0] == "doctor" else report
        assert report["weights"] == "bf16, rounded from fp32"


def test_the_log_says_how_a_served_model_was_loaded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "half", matrices="F16", vectors="F32")
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "serve", "--port", "0", "--no-auth", str(folder)],
        env={**os.environ, "HEADRACE_HOME": str(tmp_path)},  # noqa: TID251
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert "loading half: weights fp16, as stored" in log


def test_the_setting_works_without_the_flag(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "half", matrices="F16")
    command = [*COMMANDS[0], str(folder), "--json"]
    stored = json.loads(headrace(tmp_path, *command).stdout)
    rounded = json.loads(headrace(tmp_path, *command, HEADRACE_ENGINE__DTYPE="bf16").stdout)
    assert stored["weights"] == "fp16, as stored"
    assert rounded["weights"] == "bf16, rounded from fp16"
    assert stored["bytes_per_token"] == rounded["bytes_per_token"]
