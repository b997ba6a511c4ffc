"""The `headrace` command: from the process's start to its exit code.

A command that will load a model has its engine's process launched first of all: that imports what
it needs on another core while this one imports the command line.
"""

import os
import sys
from contextlib import suppress

from headrace.cli.start import begin_of_start
from headrace.engine.launch import Launched, launch
from headrace.errors import ConfigError, HeadraceError, RequestError

LOADING = {"serve", "chat"}  # commands that load a model, as a rule
OTHERWISE = {"--help", "-h", "--url"}  # unless they are asked for something else
MAX_SENTENCE_CHARS = 900  # of an error


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong use or settings."""
    # The threads of NumPy's matrix library spin for 0.1 s when it is imported, on the cores that
    # import the rest; only the reference backend multiplies with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251 (for it, not for us)
    arguments = sys.argv[1:]
    options = {argument.partition("=")[0] for argument in arguments}
    loads = not LOADING.isdisjoint(arguments[:1]) and OTHERWISE.isdisjoint(options)
    launched: Launched | None = None
    if loads:
        begin_of_start()
        with suppress(OSError):  # whoever loads the model tries again, and says why it failed
            launched = launch()
    sys.exit(run(arguments, launched))


def run(arguments: list[str], launched: Launched | None = None) -> int:
    """Run one command and give its exit code; our errors become one sentence on stderr.

    `launched`: a process for the first model that is loaded; it ends with this one.
    """
    from headrace.cli.commands import app

    try:
        app(arguments, obj=launched)
    except (ConfigError, RequestError) as exc:
        return _fail(str(exc), 2)
    except HeadraceError as exc:
        return _fail(str(exc), 1)
    except SystemExit as exc:  # typer's way to say that it is done
        return exc.code if isinstance(exc.code, int) else 0
    return 0


def _fail(message: str, code: int) -> int:
    print(f"headrace: {_one_line(message)}", file=sys.stderr)
    return code


def _one_line(message: str) -> str:
    """Names come from strangers' files: nothing in them breaks the line or steers a terminal."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return text if len(text) <= MAX_SENTENCE_CHARS else text[:MAX_SENTENCE_CHARS] + "…"
