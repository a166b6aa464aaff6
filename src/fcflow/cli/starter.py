"""``fcflow init``: a configuration to start from, that works at once against a local folder."""

from __future__ import annotations

import shlex
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import console, table
from fcflow.cli.session import Session, command

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put ``init`` into *app*."""
    command(app, "init")(init)


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> ExitCode:
    """Write a starter: configuration, rules, layouts, a partner's folder and three orders to try it with."""
    with as_file(files("fcflow.cli").joinpath("starter_files")) as source:
        wanted = {path.relative_to(source): path for path in sorted(source.rglob("*")) if path.is_file()}
        there = [name for name in wanted if (folder / name).exists() and name.name != ".keep"]
        if there and not force:
            listed = ", ".join(str(folder / name) for name in there)
            console(stderr=True).print(f"nothing was written, there is already {listed}; use --force", markup=False)
            return ExitCode.REFUSED
        for name, path in wanted.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.name != ".keep":
                (folder / name).write_bytes(path.read_bytes())
    names = [str(folder / name) for name in wanted if name.name != ".keep"]
    steps = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
    steps += ["fcflow check", "fcflow orders import orders.json", "fcflow plan --bytes", "fcflow sync"]
    shown = table("written", [{"file": name} for name in names]), Text("next: " + "; ".join(steps))
    session.show({"written": names}, *shown)
    return ExitCode.FINE
