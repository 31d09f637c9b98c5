"""The table of dynamic groups."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import Moment, metadata

dynamic_groups = sa.Table(
    "dynamic_groups",
    metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("matching_rule", sa.Text, nullable=False, default=""),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, default=1),
    sa.Column("generation", sa.BigInteger, nullable=False, index=True),
)
