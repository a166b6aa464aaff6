"""The program: its commands put together, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcflow import __version__
from fcflow.cli import (
    audit,
    checks,
    demo,
    orders,
    outbox,
    received,
    rehearsals,
    rules_convert,
    starter,
    stock,
    store,
    sync,
    transports,
)
from fcflow.cli import layouts as layout
from fcflow.cli.exit_codes import MEANINGS, ExitCode
from fcflow.cli.session import ConfigOption, DebugOption, JsonOption, Session

__all__ = ["app", "run"]

_EPILOG = "Exit codes: " + "; ".join(f"{int(code)} {code.name.lower().replace('_', ' ')}" for code in MEANINGS) + "."

app = typer.Typer(
    name="fcflow",
    help="Orders to the warehouses and drop shippers that ship them, and their answers back.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fcflow {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Session(config or Path("fcflow.json"), json, debug)


for _module in (starter, checks, sync, stock, audit, demo):
    _module.register(app)
for _module in (orders, rules_convert, layout, outbox, received, rehearsals, store, transports):
    app.add_typer(_module.app)


def run(argv: list[str]) -> int:
    """Run one command; the exit code of a mistake in the command line is 2, of an interruption 130."""
    try:
        app(args=argv, prog_name="fcflow")
    except SystemExit as ended:
        return (
            ended.code if isinstance(ended.code, int) else int(ExitCode.FINE if ended.code is None else ExitCode.USAGE)
        )
    except KeyboardInterrupt:
        return 130
    return int(ExitCode.FINE)
