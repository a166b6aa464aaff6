"""What was taken in knows whether its partner is owed a reply, and under which number."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; for what was taken in before no reply is due."""
    schema = op.get_context().opts["fcflow_schema"]
    op.add_column("fcflow_sighting", sa.Column("reply", sa.Text()), schema=schema)
    op.add_column("fcflow_sighting", sa.Column("reply_number", sa.Integer()), schema=schema)
