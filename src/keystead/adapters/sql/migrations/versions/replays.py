"""Answers that are given again say what was allowed for them; those of before do not, and are not given."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("idempotency", sa.Column("granted", sa.LargeBinary(), nullable=False, server_default=""))
