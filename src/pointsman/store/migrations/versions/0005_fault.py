"""Decisions say why the assigned variant gave no answer.

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decision", sa.Column("fault", sa.Text(), nullable=False, server_default=""))
