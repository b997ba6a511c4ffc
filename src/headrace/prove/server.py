"""`headrace serve` as a process, over a home folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import BackendError

LAUNCH = (sys.executable, "-m", "headrace")
STOP_S = 60.0  # it drains

Process = subprocess.Popen[str]


class Server:
    """A server of one model with one paid key, started again and again over the same home."""

    def __init__(self, folder: Path, settings: str, *, model: Path | None, credit: int) -> None:
        """`settings`: the text of its file; `model` None: the bundled one; `credit`: dollars."""
        self._config = folder / "headrace.toml"
        self._config.write_text(settings)
        self._model = [] if model is None else [str(model)]
        self._log = folder / "server.log"
        self.home = folder / "home"
        made = self.run("keys", "create", "--tier", "developer", "--name", "clients", "--json")
        self.key: str = json.loads(made)["key"]
        self.run("credit", "add", str(credit))

    def run(self, *arguments: str, home: Path | None = None) -> str:
        """What a command over the same home, or another, prints. Raises BackendError."""
        done = subprocess.run(  # noqa: S603 (our own command)
            [*LAUNCH, *arguments],
            env=self._environment(home or self.home),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BackendError(f"`headrace {arguments[0]}` failed: {done.stderr.strip()}")
        return done.stdout

    @contextmanager
    def serving(self) -> Generator[tuple[Process, str]]:
        """A process and its address. Raises BackendError when it does not come up."""
        command = [*LAUNCH, "serve", *self._model, "--port", "0", "--config", str(self._config)]
        with (
            self._log.open("a", encoding="utf-8") as log,
            subprocess.Popen(  # noqa: S603 (our own command)
                [*command, "--log-level", "warning"],
                env=self._environment(self.home),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                word, _, url = process.stdout.readline().strip().partition(" ")
                if word != "ready":
                    said = self._log.read_text(encoding="utf-8").strip()
                    raise BackendError(f"the server ended before it was ready: {said[-200:]}")
                yield process, url
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(STOP_S)

    def _environment(self, home: Path) -> dict[str, str]:
        """What a child process inherits, but for settings: those are in its file."""
        inherited = os.environ.items()  # noqa: TID251 (handed on, not read)
        kept = {name: value for name, value in inherited if not name.startswith("HEADRACE_")}
        return {**kept, "HEADRACE_HOME": str(home)}


def engine_of(process: Process) -> int:
    """The process id of a server's engine. Raises BackendError when there is none to be seen."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"headrace.engine.process" in command:
                return int(child)
    raise BackendError("the server has no engine")
