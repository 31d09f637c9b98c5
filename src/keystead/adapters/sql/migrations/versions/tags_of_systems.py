"""Database systems have tags, which policies and matching rules may read."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for table in ("db_systems", "resource_principals"):
        op.add_column(table, sa.Column("tags", sa.JSON(), nullable=False, server_default="{}"))
