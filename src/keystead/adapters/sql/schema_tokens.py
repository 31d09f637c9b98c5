"""Tables of sessions, API signing keys, logins under way, and the region's keys that sign tokens (wrapped)."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import Moment, StringMap, StringTuple, metadata

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("principal", sa.String(128), nullable=False),
    sa.Column("factors", StringTuple, nullable=False, default=()),
    sa.Column("key", sa.Text, nullable=False, default=""),
    sa.Column("source", sa.Text, nullable=False, default=""),
    sa.Column("risk", sa.BigInteger, nullable=False, default=0),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("refreshed_at", Moment, nullable=False),
    sa.Column("limit_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Index("sessions_by_principal", "tenancy", "principal"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("tenancy", sa.String(128), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("user", sa.String(128), nullable=False),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    sa.Column("generation", sa.BigInteger, nullable=False, index=True),
)

login_grants = sa.Table(
    "login_grants",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("asked", StringMap, nullable=False, default=dict),
    sa.Column("given", StringMap, nullable=False, default=dict),
    sa.Column("polled_at", Moment),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index("login_grants_by_code", "kind", "code"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("algorithm", sa.String(16), nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("retired_at", Moment),
)
