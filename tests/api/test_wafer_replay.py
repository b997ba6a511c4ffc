"""What the wafer page plays: the steps are those of the timing, and questions are bounded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService, Anyone, Tier
from headrace.api import App, build_app
from headrace.api.wafer_replay import replay_route
from headrace.backends.wafer.capacity import placed
from headrace.backends.wafer.timing import token_cycles
from headrace.clock import ManualClock
from headrace.config import Config
from headrace.model.program import Program
from headrace.wafer.cycles import Cycles
from headrace.wafer.machine import mesh
from tests.api.exchange import Exchange, call
from tests.scripted import ScriptedProvider
from tests.tiny_llama import tiny_program

TINY, OTHER = tiny_program(num_hidden_layers=2), tiny_program(num_hidden_layers=3)
LARGE = tiny_program(hidden_size=2_048, intermediate_size=8_192, num_hidden_layers=2)
PROGRAMS: Mapping[str, Program] = {"tiny": TINY, "other": OTHER, "large": LARGE}


def app_with(accounts: AccountService | None = None) -> App:
    route = replay_route(PROGRAMS, accounts or Anyone())
    config = Config(home=Path("/nonexistent"))
    return build_app(ScriptedProvider(), accounts, config, ManualClock(), pages=[route])


def ask(query: str, app: App | None = None, **headers: str) -> Exchange:
    return call(app or app_with(), "GET", f"/console/wafer/replay.json{query}", **headers)


@pytest.mark.parametrize("query", ["?mesh=16x12&context=40", "?mesh=5x7&context=1&model=other"])
def test_its_steps_are_the_works_of_a_token(query: str) -> None:
    got: Any = ask(query).json
    replay = got["replay"]
    program = PROGRAMS[got["model"]]
    columns, rows = replay["columns"], replay["rows"]
    placement = placed(program, mesh(columns, rows), -(-replay["context_tokens"] // 16))
    expected = token_cycles(program, placement, replay["context_tokens"])
    found: dict[str, float] = {}
    for step in replay["steps"]:
        found[step["stage"]] = found.get(step["stage"], 0) + sum(step["cycles"].values())
    assert found == pytest.approx({name: cycles.total for name, cycles in expected.items()})
    total = sum(expected.values(), Cycles())
    assert sum(replay["cycles"].values()) == pytest.approx(total.total)
    assert replay["tok_s"] == pytest.approx(replay["clock_hz"] / total.total)
    shapes = [region["rectangle"] for region in replay["regions"]]
    assert sum(shape["columns"] * shape["rows"] for shape in shapes) <= columns * rows
    assert {step["kind"] for step in replay["steps"]} >= {"vectors", "reduction", "multicast"}
    assert all(fact["certainty"] in "AL" for fact in replay["assumed"])


def test_the_first_model_and_a_mesh_of_64_are_the_defaults() -> None:
    got: Any = ask("").json
    assert (got["model"], got["models"]) == ("tiny", list(PROGRAMS))
    assert (got["replay"]["machine"], got["replay"]["context_tokens"]) == ("64x64", 128)


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("?mesh=129x1", 400, "mesh"),
        ("?mesh=0x4", 400, "mesh"),
        ("?mesh=64", 400, "mesh"),
        ("?mesh=wse2", 400, "mesh"),
        ("?mesh=4x-4", 400, "mesh"),
        ("?mesh=99999999999x1", 400, "mesh"),
        ("?mesh=%D9%A3x4", 400, "mesh"),  # a digit, but not one of ours
        ("?context=0", 400, "context"),
        ("?context=many", 400, "context"),
        ("?context=99999999", 400, "context"),
        ("?model=gpt-99", 404, "model"),
        ("?model=large&mesh=4x4", 400, "mesh"),
    ],
)
def test_a_bad_question_is_refused(query: str, status: int, param: str) -> None:
    got = ask(query)
    assert (got.status, got.json["param"]) == (status, param)


def test_what_does_not_fit_says_how_many_bytes_are_missing() -> None:
    assert "bytes of SRAM short" in ask("?model=large&mesh=4x4").json["message"]


def test_it_takes_a_key_where_models_do(accounts: AccountService) -> None:
    app = app_with(accounts)
    assert ask("", app).status == 401
    assert ask("", app, authorization="Bearer hr-wrong").status == 401
    key = accounts.create(name="k", tier=Tier.FREE).secret
    assert ask("", app, authorization=f"Bearer {key}").status == 200
