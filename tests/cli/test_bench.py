"""`bench decode` and `doctor`: one JSON object on stdout, with true values under fixed keys."""

import json
import os
import subprocess
import sys

import pytest

from headrace.model import bundled_model, open_model


def headrace(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_bench_decode_prints_one_json_object() -> None:
    done = headrace(
        "bench", "decode", "--json", "--prompt-tokens", "20", "--output-tokens", "8", "--runs", "2"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    program = open_model(bundled_model()).program
    assert report["bytes_per_token"] == program.bytes_per_token(24)
    assert report["decode_tok_s"] > 0
    assert report["prefill_tok_s"] > 0
    assert report["read_bandwidth_gb_s"] > 0
    assert report["roofline_fraction"] == pytest.approx(
        report["decode_tok_s"] * report["bytes_per_token"] / 1e9 / report["read_bandwidth_gb_s"]
    )
    assert (report["round_trip_ns"] is None) == (len(os.sched_getaffinity(0)) < 2)
    assert len(report["token_ids"]) == 8


def test_all_backends_decode_the_same_tokens() -> None:
    arguments = ["bench", "decode", "--json", "--prompt-tokens", "9", "--output-tokens", "6"]
    reports = [
        json.loads(headrace(*arguments, "--runs", "1", "--backend", backend).stdout)
        for backend in ("cpu", "reference", "wafer")
    ]
    assert len({tuple(report["token_ids"]) for report in reports}) == 1


def test_a_shape_beyond_the_context_is_one_sentence() -> None:
    done = headrace("bench", "decode", "--prompt-tokens", "2000", "--output-tokens", "500")
    assert done.returncode != 0
    assert "exceed the context of 2048" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_doctor_tells_what_runs_and_how() -> None:
    done = headrace("doctor", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["backends"]["cpu"].startswith("ready")
    assert report["model"]["fallback_ops"] == {}
    assert report["model"]["phases"]["Attention"] == 6
    assert report["host"]["physical_cores"] >= 1
    speeds = report["speeds"]
    assert list(report["read_bandwidth_gb_s"].values()) == pytest.approx(
        [speed["all_threads_gb_s"] for speed in speeds["working_sets"]], abs=0.06
    )
    assert all(speed["one_thread_gb_s"] > 0 for speed in speeds["working_sets"])
    assert speeds["barrier_ns"] > 0 or speeds["threads"] == 1


def test_doctor_shows_people_what_each_cache_gives() -> None:
    done = headrace("doctor")
    assert done.returncode == 0, done.stderr
    assert "half of an L2 cache" in done.stdout
    assert "1 thread" in done.stdout


def test_doctor_names_a_folder_that_is_not_a_model(tmp_path: object) -> None:
    done = headrace("doctor", str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
