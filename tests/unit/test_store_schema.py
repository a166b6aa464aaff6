"""The tables: created at once, migrated, refused when they are newer, printed for an administrator."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fcflow.errors import StoreError, StoreVersionError
from fcflow.store import Store, schema
from fcflow.store.engines import open_engine, parse_url
from fcflow.store.tables import SCHEMA_VERSION, build_tables
from fcflow.testing.stores import an_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fcflow.db"


def _migrated_from_nothing(path: Path) -> sa.Engine:
    engine = open_engine(*parse_url(f"sqlite:///{path}"))
    with engine.begin() as connection:
        schema._migrate(connection, None)
    return engine


def _statements(path: Path) -> dict[tuple[str, str], list[str]]:
    """What SQLite itself holds of each table and index: words of its statement, whatever their order in it."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        (kind, name): sorted(re.split(r"[\s,]+", sql.replace("(", " ( ").replace(")", " ) ")))
        for kind, name, sql in rows
    }


def test_migrating_from_nothing_makes_the_tables_that_are_created_at_once(tmp_path: Path) -> None:
    """
    Both ways to a new store end at the same tables, columns, constraints and indexes.
    """
    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    engine = _migrated_from_nothing(migrated)
    with engine.connect() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, build_tables()) == []
    engine.dispose()
    Store.open(f"sqlite:///{created}").close()
    assert _statements(migrated) == _statements(created)
    with Store.open(f"sqlite:///{migrated}") as store, store.transaction() as tx:
        tx.insert_orders([an_order()])


def test_the_newest_migration_is_the_version_of_the_tables() -> None:
    """
    The version that the code expects is the head of a single line of migrations.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_an_administrator_can_create_the_tables_by_hand(path: Path) -> None:
    """
    The printed statements make what opening would have made, version included.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Store.ddl())
    before = _statements(path)
    Store.open(f"sqlite:///{path}").close()
    assert _statements(path) == before
    Store.open(f"sqlite:///{path.with_name('other.db')}").close()
    assert _statements(path.with_name("other.db")) == before


def test_the_ddl_of_postgresql_names_its_schema() -> None:
    """
    Every table, index and reference stands in the schema asked for.
    """
    ddl = Store.ddl("postgresql://", schema="shop")
    tables = {statement.split()[2] for statement in ddl.split(";\n\n") if statement.startswith("CREATE TABLE")}
    assert {"shop.fcflow_order", "shop.fcflow_schema_version"} <= tables
    assert all(table.startswith("shop.") for table in tables)
    assert "REFERENCES shop.fcflow_order" in ddl
    assert f"INSERT INTO shop.fcflow_schema_version (version_num) VALUES ('{SCHEMA_VERSION}')" in ddl


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if the next release were installed: it adds a column."""
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "v9999_next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '9999', {SCHEMA_VERSION!r}\n"
        "def upgrade():\n"
        "    op.add_column('fcflow_order', sa.Column('colour', sa.Text()))\n"
        "    op.execute(\"UPDATE fcflow_order SET colour = 'red'\")\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", "9999")
    return "9999"


@pytest.fixture
def older_file(path: Path) -> Path:
    """A store of this release, with an order in it."""
    with Store.open(f"sqlite:///{path}") as store, store.transaction() as tx:
        tx.insert_orders([an_order()])
    return path


def test_an_older_file_is_migrated_when_it_is_opened(older_file: Path, next_version: str) -> None:
    """
    It has the new column, the new version, and every order it had.
    """
    with Store.open(f"sqlite:///{older_file}") as store, store.reading() as tx:
        assert tx.order_ids() == ["A1"]
        assert tx.connection.exec_driver_sql("SELECT colour FROM fcflow_order").scalar_one() == "red"
        versions = tx.connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}").scalars().all()
        assert versions == [next_version]


def test_a_migration_that_fails_changes_nothing(older_file: Path, next_version: str, tmp_path: Path) -> None:
    """
    Half a migration is taken back with the other half, and the older fcflow can go on.
    """
    script = tmp_path / "migrations" / "versions" / "v9999_next.py"
    script.write_text(script.read_text() + "    op.execute('UPDATE no_such_table SET x = 1')\n")
    before = _statements(older_file)
    with pytest.raises(StoreError, match="no_such_table"):
        Store.open(f"sqlite:///{older_file}")
    assert _statements(older_file) == before


def test_migrating_again_does_nothing(older_file: Path) -> None:
    """
    `Store.migrate` may be run at every start.
    """
    before = _statements(older_file)
    assert Store.migrate(f"sqlite:///{older_file}") == SCHEMA_VERSION
    assert _statements(older_file) == before


def test_a_newer_store_is_refused(older_file: Path) -> None:
    """
    An fcflow that does not know the tables touches nothing, neither opening nor migrating.
    """
    with closing(sqlite3.connect(older_file)) as connection:
        connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
        connection.commit()
    said = f"store has schema 9999, this fcflow knows up to {SCHEMA_VERSION}: upgrade fcflow"
    for action in (Store.open, Store.migrate):
        with pytest.raises(StoreVersionError, match=said):
            action(f"sqlite:///{older_file}")


_OPEN = """
import sys
from fcflow.store import Store
with Store.open(sys.argv[1]) as store, store.transaction() as tx:
    tx.counter("x")
"""


def test_several_processes_may_open_a_new_store_at_once(path: Path) -> None:
    """
    One creates the tables, the others wait and find them.
    """
    url = f"sqlite:///{path}"
    children = [
        subprocess.Popen([sys.executable, "-c", _OPEN, url], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert (child.returncode, said) == (0, "")
    with Store.open(url) as store, store.transaction() as tx:
        assert tx.counter("x") == 5
