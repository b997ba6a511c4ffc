"""`headrace users` and `headrace organisations`, and a server that waits for an administrator."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.accounts import AccountService
from headrace.cli.main import run
from headrace.cli.serve import check_wide_bind
from headrace.config import Config
from headrace.errors import ConfigError

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.guards("D31")
def test_the_first_administrator_is_made_on_the_command_line(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    made = said(capsys, "users", "create", "root@example.com", "--admin")
    assert (made["role"], made["organisation_id"]) == ("owner", "org_default")
    assert PASSWORD not in json.dumps(made)
    assert said(capsys, "users", "list")["users"] == [made]
    with AccountService.open(Config(home=home)) as accounts:
        assert accounts.has_owner()


def test_a_user_is_a_member_unless_told_otherwise(capsys: pytest.CaptureFixture[str]):
    assert said(capsys, "users", "create", "m@example.com")["role"] == "member"


def test_a_password_that_is_too_short_makes_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert run(["users", "create", "root@example.com", "--admin"]) == 2
    assert "12 to 256 characters" in capsys.readouterr().err
    assert said(capsys, "users", "list") == {"users": []}


def test_a_forgotten_password_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = said(capsys, "users", "create", "root@example.com", "--admin")
    monkeypatch.setattr("sys.stdin", io.StringIO("another long password\n"))
    assert said(capsys, "users", "password", "root@example.com") == made
    monkeypatch.setattr("sys.stdin", io.StringIO("another long password\n"))
    assert run(["users", "password", "nobody@example.com"]) == 2


def test_the_operator_sets_tiers(capsys: pytest.CaptureFixture[str]):
    (default,) = said(capsys, "organisations", "list")["organisations"]
    assert (default["id"], default["tier"]) == ("org_default", "enterprise")
    changed = said(capsys, "organisations", "set-tier", "org_default", "free")
    assert changed["tier"] == "free"
    assert run(["organisations", "set-tier", "org_none", "free"]) == 2
    assert "no organisation has the id" in capsys.readouterr().err


@pytest.mark.guards("D36")
def test_other_machines_are_served_once_somebody_administers(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    with AccountService.open(Config(home=home)) as accounts:
        for host in ("127.0.0.1", "::1", "localhost"):
            check_wide_bind(host, accounts)
        for host in ("0.0.0.0", "::", "192.168.1.7", "example.com"):
            with pytest.raises(ConfigError, match="headrace users create"):
                check_wide_bind(host, accounts)
    said(capsys, "users", "create", "m@example.com")
    assert run(["serve", "/nonexistent", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "nobody administers" in capsys.readouterr().err


def test_an_overlap_lets_the_old_key_go_on(home: Path, capsys: pytest.CaptureFixture[str]):
    old = said(capsys, "keys", "create", "--tier", "free", "--name", "k")["key"]
    new = said(capsys, "keys", "rotate", "k", "--overlap", "60")
    with AccountService.open(Config(home=home)) as accounts:
        assert accounts.authenticate(old)
        assert accounts.authenticate(new["key"])
