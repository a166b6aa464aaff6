"""What was taken in keeps the header that it had, so that a change over night is noticed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what was taken in before has none."""
    op.add_column("fcflow_sighting", sa.Column("shape", sa.Text()), schema=op.get_context().opts["fcflow_schema"])
