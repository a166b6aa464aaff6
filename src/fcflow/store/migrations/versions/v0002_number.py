"""A delivery keeps its running number, by which a partner's acknowledgement quotes it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; deliveries of before have none."""
    schema = op.get_context().opts["fcflow_schema"]
    op.add_column("fcflow_outbox", sa.Column("number", sa.Integer()), schema=schema)
    op.create_index("ix_fcflow_outbox_number", "fcflow_outbox", ["namespace", "partner", "number"], schema=schema)
