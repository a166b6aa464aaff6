"""``fcflow received``: every file and answer that was taken in, what it held, and what was wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fcflow.cli.output import plain, table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import facts, received_row
from fcflow.errors import LifecycleError

__all__ = ["app"]

app = typer.Typer(name="received", help="Every file and answer that was taken in.", no_args_is_help=True)


@command(app, "list")
def list_received(
    session: Session,
    partner: Annotated[str | None, typer.Option("--partner", "-p", help="Only this partner.")] = None,
    state: Annotated[str | None, typer.Option("--state", "-s", help="Only this state: applied refused parked.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
) -> None:
    """List what was taken in."""
    with session.synchronizer() as synchronizer:
        rows = synchronizer.received(partner=partner, state=state, limit=limit)
    session.show(rows, table("received", [received_row(row) for row in rows]))


@command(app, "show")
def show(
    session: Session,
    sighting: Annotated[int, typer.Argument(metavar="ID", help="Id of what was received.")],
    content: Annotated[
        bool, typer.Option("--content", help="Write its bytes to standard output, nothing else.")
    ] = False,
) -> None:
    """Show what was taken in once, with every bad row; its bytes on request."""
    with session.synchronizer() as synchronizer:
        row = next(iter(synchronizer.received(sighting_id=sighting)), None)
        if row is None:
            raise LifecycleError(f"nothing was received under the id {sighting}")
        held = synchronizer.received_content(sighting) if content else b""
        problems = synchronizer.problems(sighting)
    if content:
        sys.stdout.buffer.write(held)
        return
    said = [{"problem": str(problem)} for problem in problems]
    document = {**plain(row), "faults": [plain(problem) for problem in problems]}
    session.show(document, table(f"received {sighting}", facts(plain(row))), table("problems", said))


@command(app, "again")
def again(
    session: Session,
    sighting: Annotated[int, typer.Argument(metavar="ID", help="Id of what was refused or parked.")],
) -> None:
    """Read what was refused or parked once more, by the layout as it is now, and apply it."""
    with session.synchronizer() as synchronizer:
        synchronizer.receive_again(sighting)
        [row] = synchronizer.received(sighting_id=sighting)
        problems = synchronizer.problems(sighting)
    said = [{"problem": str(problem)} for problem in problems]
    document = {**plain(row), "faults": [plain(problem) for problem in problems]}
    session.show(document, table(f"received {sighting}", facts(plain(row))), table("problems", said))


@command(app, "errors")
def errors(
    session: Session,
    sighting: Annotated[int, typer.Argument(metavar="ID", help="Id of what was received.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them into this file.")] = None,
) -> None:
    """Write the bad rows of what was taken in as a CSV file that the partner can mend."""
    with session.synchronizer() as synchronizer:
        content = synchronizer.received_errors(sighting)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)
