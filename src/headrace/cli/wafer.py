"""`headrace wafer`: a model on a simulated mesh of cores."""

import typer

from headrace.cli.wafer_run import run
from headrace.cli.wafer_validate import validate

wafer_app = typer.Typer(no_args_is_help=True, help="A model on a simulated mesh of cores.")
wafer_app.command()(run)
wafer_app.command()(validate)
