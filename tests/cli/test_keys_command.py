"""`headrace keys`, as a person and as a program use it."""

import json
from pathlib import Path

import pytest

from headrace.accounts import AccountService
from headrace.cli.main import run
from headrace.config import Config
from headrace.errors import Unauthenticated


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return tmp_path


def test_a_key_is_printed_once_and_works(home: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["keys", "create", "--tier", "free", "--name", "laptop"]) == 0
    secret = capsys.readouterr().out.strip()
    with AccountService.open(Config(home=home)) as accounts:
        assert accounts.authenticate(secret).name == "laptop"
    assert run(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "laptop" in shown
    assert secret[-4:] in shown
    assert secret not in shown


def test_each_command_prints_one_json_object(home: Path, capsys: pytest.CaptureFixture[str]):
    def said(*arguments: str) -> dict:
        assert run(["keys", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    first = said("create", "--tier", "developer", "--name", "laptop")
    assert (first["name"], first["tier"], first["revoked_unix"]) == ("laptop", "developer", None)
    second = said("rotate", "laptop")
    assert second["key"] != first["key"]
    listed = said("list")["keys"]
    assert [key["id"] for key in listed if key["revoked_unix"] is None] == [second["id"]]
    assert "key" not in listed[0]
    assert said("revoke", second["id"])["revoked_unix"] is not None
    with AccountService.open(Config(home=home)) as accounts, pytest.raises(Unauthenticated):
        accounts.authenticate(second["key"])


def test_an_empty_list_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert run(["keys", "list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "headrace keys create" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "revoke", "nobody"], "no active key has the id or name 'nobody'"),
        (["keys", "create", "--tier", "free", "--name", "a\nb"], "control characters"),
        (["keys", "create", "--tier", "gold", "--name", "x"], "'gold' is not one of"),
        (["keys", "create", "--name", "x"], "a key has a --tier, or a --role"),
        (
            ["keys", "create", "--name", "x", "--tier", "free", "--role", "viewer"],
            "a key has a --tier, or a --role",
        ),
        (["keys", "create", "--tier", "free"], "Missing option"),
        (["nothing"], "No such command"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    from headrace import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_every_command_is_registered_and_has_help(capsys: pytest.CaptureFixture[str]):
    from headrace.cli.commands import COMMANDS

    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert name in shown
        assert run([name, "--help"]) == 0
