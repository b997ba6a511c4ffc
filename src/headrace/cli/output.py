"""How commands speak: JSON for programs on stdout, everything else for people on stderr.

What draws for people is imported when there is something to draw: a server starts without it.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import msgspec

DTYPE_HELP = "bf16 rounds weights stored as fp16 or fp32 while loading [stored]"


def print_json(value: object) -> None:
    """One JSON object on standard output, and nothing else there."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str = "", *, style: str = "") -> None:
    """A line for people, on stderr."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, style=style, markup=False)


@contextmanager
def loading_bars() -> Generator[Callable[[str], Callable[[int, int], None]], None, None]:
    """`bars(name)` gives a callback (done, total) that moves a bar; silent when nobody watches."""
    if not sys.stderr.isatty():
        yield lambda _: _unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("loading {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def bar(name: str) -> Callable[[int, int], None]:
            task = progress.add_task(name, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield bar


def _unseen(_: int, __: int) -> None:
    pass
