"""Compartments and groups have tags, which policies may read."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("compartments", "groups"):
        op.add_column(table, sa.Column("tags", sa.JSON(), nullable=False, server_default="{}"))
