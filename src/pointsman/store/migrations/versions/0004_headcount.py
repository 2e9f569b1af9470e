"""How far units came, by the chances they were drawn with.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "headcount",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("block_ms", sa.BigInteger(), nullable=False),
        sa.Column("of", sa.Text(), nullable=False),
        sa.Column("chances", sa.Text(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("assigned", sa.BigInteger(), nullable=False),
        sa.Column("served", sa.BigInteger(), nullable=False),
        sa.Column("logged", sa.BigInteger(), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "rule", "epoch", "block_ms", "of", "chances", "variant"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("headcount")
