"""Decisions say what was wrong with their rows.

Revision: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decision", sa.Column("quality", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_decision_quality",
        "decision",
        ["project", "at_ms"],
        sqlite_where=sa.text("quality != ''"),
        postgresql_where=sa.text("quality != ''"),
    )
