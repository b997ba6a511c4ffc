"""Write tests/homes/: what earlier versions of Headrace left in their home folders.

    git worktree add /tmp/old COMMIT
    .venv/bin/python tools/make_old_home.py /tmp/old/src

That version's own commands make two keys and revoke one, an administrator, and, if it knows of
money, credit and one paid request to a server. `N-NAME` is the newest step of its schema: there lie
`database.sql`, a dump of its database, and `made.json`, the secrets that must open it later. Run it
before a step is added to `store/migrations.py`, so that there is a home of the version before.
"""

import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

HOMES = Path(__file__).parents[1] / "tests" / "homes"
PASSWORD = "correct horse battery"
# The sources that are asked for, and not the ones this interpreter has installed for editing.
RUN = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
sys.path.append(sys.argv.pop(1))
from headrace.cli.main import main
main()
"""
CONFIG = """
[tiers.developer]
billing = "credit"

[[prices]]
model = "headrace-mini"
input_micros = 100_000
output_micros = 600_000
"""


class Old:
    """A Headrace of the past over a home folder."""

    def __init__(self, source: Path, home: Path) -> None:
        self._start = [sys.executable, "-S", "-c", RUN, str(source), sysconfig.get_path("purelib")]
        self._env = {
            **os.environ,  # noqa: TID251 (what a child process inherits)
            "HEADRACE_HOME": str(home),
            "HEADRACE_ENGINE__BACKEND": "null",
            "PYTHONPATH": f"{source}:{sysconfig.get_path('purelib')}",  # of the engine's process
            "PYTHONNOUSERSITE": "1",
        }
        self.knows_money = (source / "headrace" / "cli" / "credit.py").exists()
        self.knows_users = (source / "headrace" / "cli" / "users.py").exists()

    def run(self, *arguments: str, typed: str = "") -> Any:
        """What a command says as JSON."""
        done = subprocess.run(
            [*self._start, *arguments, "--json"],
            env=self._env,
            input=typed,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def ask(self, key: str, config: Path) -> str:
        """One paid request to a server; its id."""
        command = [*self._start, "serve", "--port", "0", "--config", str(config)]
        with subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = server.stdout.readline().split()[1]
            got = httpx.post(
                f"{url}/v1/chat/completions",
                headers={"authorization": f"Bearer {key}"},
                json={
                    "model": "headrace-mini",
                    "messages": [{"role": "user", "content": "hello"}],
                    "max_tokens": 20,
                    "min_tokens": 20,
                },
            ).raise_for_status()
            server.terminate()
        return str(got.json()["id"])


def make(source: Path, folder: Path) -> tuple[str, list[str], dict[str, Any]]:
    """The schema's name, the dump, and what must open it."""
    home = folder / "home"
    old = Old(source, home)
    kept = old.run("keys", "create", "--tier", "developer", "--name", "kept")["key"]
    revoked = old.run("keys", "create", "--tier", "free", "--name", "revoked")["key"]
    old.run("keys", "revoke", "revoked")
    made: dict[str, Any] = {"kept": kept, "revoked": revoked}
    if old.knows_users:
        old.run("users", "create", "root@example.com", "--admin", typed=f"{PASSWORD}\n")
        made |= {"email": "root@example.com", "password": PASSWORD}
    if old.knows_money:
        old.run("credit", "add", "10", "--reference", "invoice 17")
        config = folder / "headrace.toml"
        config.write_text(CONFIG)
        made |= {"request": old.ask(kept, config)}
        made |= {"balance_micros": old.run("credit", "show")["balance_micros"]}
    made |= {"pepper": (home / "key-pepper").read_bytes().hex()}
    with closing(sqlite3.connect(home / "headrace.db")) as database:
        number, name = database.execute(
            "SELECT number, name FROM schema_versions ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return f"{number}-{name}", list(database.iterdump()), made


def main(arguments: Sequence[str]) -> None:
    """Write one home."""
    with tempfile.TemporaryDirectory() as folder:
        name, dump, made = make(Path(arguments[0]).absolute(), Path(folder))
    target = HOMES / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "database.sql").write_text("\n".join(dump) + "\n")
    (target / "made.json").write_text(json.dumps(made, indent=1) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
