"""``fcflow transport``: a transport of one's own, begun."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import console, table
from fcflow.cli.session import Session, command

__all__ = ["app"]

_NAME = re.compile("[a-z][a-z0-9]{0,30}")

app = typer.Typer(name="transport", help="Begin a transport of your own.", no_args_is_help=True)


@command(app, "new")
def new(
    session: Session,
    name: Annotated[str, typer.Argument(help="Its URL scheme: small letters and digits, such as acme for acme://.")],
    folder: Annotated[Path, typer.Option("--to", help="Where to put the package.")] = Path(),
) -> ExitCode:
    """Write a plugin package with a transport that works, in memory, and the contract that its tests run."""
    fault = _fault(name, package := folder / f"fcflow-{name}")
    if fault is not None:
        console(stderr=True).print(f"nothing was written: {fault}", markup=False)
        return ExitCode.REFUSED
    written = []
    for path, content in _filled(name):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(content, encoding="utf-8")
        written.append(str(package / path))
    steps = f"next: pip install -e {package}; pytest {package}; then put your server where the dictionary is"
    session.show({"written": written}, table("written", [{"file": each} for each in written]), Text(steps))
    return ExitCode.FINE


def _fault(name: str, package: Path) -> str | None:
    from fcflow.plugins import load_plugins

    if not _NAME.fullmatch(name):
        return f"expected small letters and digits, got {name!r}"
    if name in load_plugins().transports:
        return f"{name}:// is served already"
    return f"there is already {package}" if package.exists() else None


def _filled(name: str) -> Iterator[tuple[str, str]]:
    """Path and content of every file of the package."""
    words = {"name": name, "Name": name.capitalize()}
    with as_file(files("fcflow.cli").joinpath("transport_files")) as source:
        for path in sorted(source.rglob("*.template")):
            place = path.relative_to(source).as_posix().removesuffix(".template")
            filled = place.replace("fcflow_name", f"fcflow_{name}").replace("test_name", f"test_{name}")
            yield filled, Template(path.read_text(encoding="utf-8")).substitute(words)
