"""The commands. Each is a function in its own file, loaded when it is called."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as as_click

from headrace import __version__

# name -> where the function (or the group of functions) is
COMMANDS = {
    "serve": "headrace.cli.serve:serve",
    "demo": "headrace.cli.demo:demo",
    "chat": "headrace.cli.chat:chat",
    "keys": "headrace.cli.keys:keys_app",
    "credit": "headrace.cli.credit:credit_app",
    "usage": "headrace.cli.usage:usage",
    "users": "headrace.cli.users:users_app",
    "organisations": "headrace.cli.organisations:organisations_app",
    "backup": "headrace.cli.backup:backup",
    "restore": "headrace.cli.restore:restore",
    "prove": "headrace.cli.prove:prove",
    "bench": "headrace.cli.bench:bench_app",
    "wafer": "headrace.cli.wafer:wafer_app",
    "doctor": "headrace.cli.doctor:doctor",
}


class _Commands(TyperGroup):
    """Imports a command when it is asked for: `keys` need not wait for the engine's libraries."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found: Any = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command()(found)
            found = alone
        command = as_click(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a fault of ours is reported with its plain trace
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Answers one user as fast as the hardware allows, behind the OpenAI API."""
