"""Alerts, what was told of them, and what is to be sent.

Revision: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alert_state", "alert", ["state", "project", "changed_ms"], unique=False)
    op.create_table(
        "alert_told",
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alert", "receiver"),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=False),
        sa.Column("claimed_ms", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_alert_delivery_open",
        "alert_delivery",
        ["receiver", "project"],
        unique=True,
        sqlite_where=sa.text("done_ms IS NULL"),
    )
    op.create_index(
        "ix_alert_delivery_done", "alert_delivery", ["receiver", "done_ms"], unique=False
    )


def downgrade() -> None:
    op.drop_index("ix_alert_delivery_done", "alert_delivery")
    op.drop_index("ix_alert_delivery_open", "alert_delivery")
    op.drop_table("alert_delivery")
    op.drop_table("alert_told")
    op.drop_index("ix_alert_state", "alert")
    op.drop_table("alert")
