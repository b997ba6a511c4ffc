"""`headrace bench`: how fast is it?"""

import typer

from headrace.cli.bench_decode import decode
from headrace.cli.bench_null import null_server
from headrace.cli.bench_race import race
from headrace.cli.bench_replay import replay
from headrace.cli.bench_run import run

bench_app = typer.Typer(no_args_is_help=True, help="How fast is it?")
bench_app.command()(run)
bench_app.command()(race)
bench_app.command()(replay)
bench_app.command()(decode)
bench_app.command(name="null-server")(null_server)
