"""The tables of what policies speak of, and of the tenancies they hold in."""

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.schema import StringTuple

dynamic_groups = sa.Table(
    "dynamic_groups",
    schema.metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("matching_rule", sa.Text, nullable=False, default=""),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", schema.Moment, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, default=1),
    sa.Column("generation", sa.BigInteger, nullable=False, index=True),
)

network_sources = sa.Table(
    "network_sources",
    schema.metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("networks", StringTuple, nullable=False),
    sa.Column("description", sa.Text, nullable=False, default=""),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", schema.Moment, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, default=1),
    sa.Column("generation", sa.BigInteger, nullable=False, index=True),
)
