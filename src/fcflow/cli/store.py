"""``fcflow store``: the tables, and bringing them up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from fcflow.cli.output import console
from fcflow.cli.session import Session, command

__all__ = ["app"]

app = typer.Typer(name="store", help="The database behind it.", no_args_is_help=True)


@command(app, "migrate")
def migrate(session: Session) -> None:
    """Bring the tables up to this version of fcflow (SQLite does so by itself when it is opened)."""
    from rich.text import Text

    from fcflow.store import Store

    version = Store.migrate(session.config.store_address(), schema=session.config.schema)
    session.show({"version": version}, Text(f"the store is at version {version}"))


@command(app, "sql")
def sql(
    session: Session,
    url: Annotated[
        str | None,
        typer.Option(help="Print the statements for this kind of database, such as `postgresql+psycopg://`."),
    ] = None,
) -> None:
    """Print the statements that create the tables."""
    from fcflow.store import Store

    schema = None if url is not None else session.config.schema
    text = Store.ddl(url or session.config.store_url, schema=schema)
    if session.as_json:
        session.show({"sql": text})
    else:
        console().out(text, end="")
