"""The table of network sources."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import Moment, StringTuple, metadata

network_sources = sa.Table(
    "network_sources",
    metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("networks", StringTuple, nullable=False),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, default=1),
    sa.Column("generation", sa.BigInteger, nullable=False, index=True),
)
