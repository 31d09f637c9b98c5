"""Root keys can be replaced: which one the rows are wrapped under, and what earlier ones left."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("region", sa.Column("root_mark", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "carried_keys",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
