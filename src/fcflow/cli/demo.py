"""``fcflow demo``: a day with three partners on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcflow.cli.session import Session, command
from fcflow.errors import MissingExtraError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put ``demo`` into *app*."""
    command(app, "demo")(demo)


def demo(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where the store, the files and the report are left.")] = Path(
        "fcflow-demo"
    ),
    seed: Annotated[int | None, typer.Option(help="Another seed makes another day.", show_default=False)] = None,
) -> int:
    """Send 500 orders to three simulated partners over FTP, SFTP and HTTP, and see them come back shipped."""
    try:
        from fcflow.demo.runner import run_demo
    except ImportError as error:
        if error.name is None or error.name.startswith("fcflow"):
            raise
        raise MissingExtraError("demo", error.name) from None
    return run_demo(folder) if seed is None else run_demo(folder, seed=seed)
