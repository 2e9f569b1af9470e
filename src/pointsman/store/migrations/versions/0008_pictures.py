"""Traffic by short stretches of time, and how a rollout's evidence stood at each look.

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pulse",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("assigned", sa.Text(), nullable=False),
        sa.Column("served", sa.Text(), nullable=False),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.Column("denied", sa.BigInteger(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "step_s", "at_ms", "rule", "assigned", "served"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pulse_age", "pulse", ["step_s", "at_ms"], unique=False)
    op.create_table(
        "rollout_look",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("bound", sa.Float(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("n_champion", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "attempt", "role", "metric", "slice", "at_ms"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("rollout_look")
    op.drop_index("ix_pulse_age", "pulse")
    op.drop_table("pulse")
