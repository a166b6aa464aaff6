"""Which version the tables have, and how they get to the newest: new stores at once, old ones by Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from fcflow.errors import StoreVersionError
from fcflow.store.tables import SCHEMA_VERSION

__all__ = ["VERSION_TABLE", "prepare", "upgrade"]

VERSION_TABLE = "fcflow_schema_version"


def prepare(engine: Engine, tables: sa.MetaData, schema: str | None) -> None:
    """
    Make the tables fit this version of fcflow: create them in an empty database, migrate an older SQLite file.

    Raises:
        StoreVersionError: They are newer, or older in a database that is migrated on command.
    """
    with engine.connect() as connection:
        version = _version(connection, schema)
        connection.rollback()
    if version == SCHEMA_VERSION:
        return
    if version is not None and version > SCHEMA_VERSION:
        raise StoreVersionError(f"store has schema {version}, this fcflow knows up to {SCHEMA_VERSION}: upgrade fcflow")
    if version is not None and engine.dialect.name != "sqlite":
        raise StoreVersionError(f"store has schema {version}, expected {SCHEMA_VERSION}: run fcflow store migrate")
    upgrade(engine, tables, schema)


def upgrade(engine: Engine, tables: sa.MetaData, schema: str | None) -> str:
    """Create or migrate the tables; returns the version that they now have."""
    with engine.begin() as connection:
        version = _version(connection, schema)
        if version is None:
            _create(connection, tables, schema)
        elif version < SCHEMA_VERSION:
            _migrate(connection, schema)
    return SCHEMA_VERSION


def _version(connection: Connection, schema: str | None) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return None
    return connection.execute(sa.select(_version_table(schema).c.version_num)).scalar_one_or_none()


def _version_table(schema: str | None) -> sa.Table:
    """As Alembic makes it, so that it finds its own mark."""
    return sa.Table(
        VERSION_TABLE,
        sa.MetaData(schema=schema),
        sa.Column("version_num", sa.String(32), primary_key=True, nullable=False),
    )


def _create(connection: Connection, tables: sa.MetaData, schema: str | None) -> None:
    if schema is not None:
        connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    tables.create_all(connection)
    mark = _version_table(schema)
    mark.create(connection)
    connection.execute(mark.insert().values(version_num=SCHEMA_VERSION))


def _migrate(connection: Connection, schema: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")
