"""
What Alembic runs: the caller hands over an open connection and commits, so a migration happens whole or not at all.

``config.attributes`` holds ``connection`` and ``schema`` (or ``None``).
"""

from alembic import context

from fcflow.store.schema import VERSION_TABLE
from fcflow.store.tables import build_tables


def _run() -> None:
    attributes = context.config.attributes
    schema = attributes["schema"]
    context.configure(
        connection=attributes["connection"],
        target_metadata=build_tables(schema),
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        include_schemas=schema is not None,
        transactional_ddl=True,
        render_as_batch=True,
        fcflow_schema=schema,
    )
    with context.begin_transaction():
        context.run_migrations()


# Test collectors and type checkers import this file as well, and there is nothing to migrate then.
if hasattr(context, "config"):
    _run()
