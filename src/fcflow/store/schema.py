"""Which version the tables have, and how they get to the newest: new stores at once, old ones by Alembic."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, Engine

from fcflow.errors import StoreVersionError
from fcflow.store.engines import take_turn
from fcflow.store.tables import SCHEMA_VERSION

__all__ = ["MIGRATIONS", "VERSION_TABLE", "ddl", "prepare", "upgrade"]

VERSION_TABLE = "fcflow_schema_version"
MIGRATIONS = Path(__file__).with_name("migrations")

# Alembic keeps the migration under way in module globals.
_one_at_a_time = threading.Lock()


def prepare(engine: Engine, tables: sa.MetaData, schema: str | None, timeout_s: float) -> None:
    """
    Make the tables fit this version of fcflow: create them in an empty database, migrate an older SQLite file.

    Raises:
        StoreVersionError: They are newer, or older in a database that is migrated on command.
    """
    with engine.connect().execution_options(fcflow_read=True) as connection:
        version = _version(connection, schema)
        connection.rollback()
    if version == SCHEMA_VERSION:
        return
    if version is not None and version < SCHEMA_VERSION and engine.dialect.name != "sqlite":
        raise StoreVersionError(f"store has schema {version}, expected {SCHEMA_VERSION}: run fcflow store migrate")
    upgrade(engine, tables, schema, timeout_s)


def upgrade(engine: Engine, tables: sa.MetaData, schema: str | None, timeout_s: float) -> str:
    """
    Create or migrate the tables, all or nothing; returns the version that they now have.

    Raises:
        StoreVersionError: They are newer.
    """
    with engine.begin() as connection:
        # Others may be doing the same: look again once they are done.
        take_turn(connection, f"fcflow/{schema or ''}/schema", timeout_s)
        version = _version(connection, schema)
        if version is None:
            _create(connection, tables, schema)
        elif version < SCHEMA_VERSION:
            _migrate(connection, schema)
        elif version > SCHEMA_VERSION:
            known = f"this fcflow knows up to {SCHEMA_VERSION}: upgrade fcflow"
            raise StoreVersionError(f"store has schema {version}, {known}")
    return SCHEMA_VERSION


def ddl(dialect: Dialect, tables: sa.MetaData, schema: str | None) -> str:
    """All statements that `upgrade` runs in an empty database, as text."""
    statements: list[sa.schema.ExecutableDDLElement] = (
        [] if schema is None else [sa.schema.CreateSchema(schema, if_not_exists=True)]
    )
    mark = _version_table(schema)
    for table in (*tables.sorted_tables, mark):
        statements.append(sa.schema.CreateTable(table))
        statements += [sa.schema.CreateIndex(each) for each in sorted(table.indexes, key=lambda each: str(each.name))]
    texts = [str(statement.compile(dialect=dialect)).strip() for statement in statements]
    marked = mark.insert().values(version_num=SCHEMA_VERSION)
    texts.append(str(marked.compile(dialect=dialect, compile_kwargs={"literal_binds": True})))
    return ";\n\n".join(texts) + ";\n"


def _version(connection: Connection, schema: str | None) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return None
    return connection.execute(sa.select(_version_table(schema).c.version_num)).scalar_one_or_none()


def _version_table(schema: str | None) -> sa.Table:
    """As Alembic makes it, so that it finds its own mark."""
    key = sa.Column("version_num", sa.String(32), nullable=False)
    primary = sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc")
    return sa.Table(VERSION_TABLE, sa.MetaData(schema=schema), key, primary)


def _create(connection: Connection, tables: sa.MetaData, schema: str | None) -> None:
    if schema is not None and not sa.inspect(connection).has_schema(schema):
        connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    tables.create_all(connection)
    mark = _version_table(schema)
    mark.create(connection, checkfirst=True)
    connection.execute(mark.insert().values(version_num=SCHEMA_VERSION))


def _migrate(connection: Connection, schema: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema)
    with _one_at_a_time:
        command.upgrade(config, "head")
