"""Tables of break glass and approvals: part of the schema (schema.py)."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import _flag, _hot, _id, _int, _maybe, _moment, _ref, _text, _texts, metadata

break_glass = sa.Table(
    "break_glass",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("group_id"),
    _text("group_name"),
    _ref("user_id"),
    _text("user_name"),
    _text("reason"),
    _ref("granted_by"),
    _text("granted_by_name"),
    _moment("began_at"),
    _moment("expires_at"),
    _maybe("ended_at"),
    _ref("ended_by"),
    _text("how"),
    sa.Index("break_glass_by_end", "ended_at", "expires_at"),
)

approval_rules = sa.Table(
    "approval_rules",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("name"),
    _texts("operations"),
    _ref("group_id"),
    _int("needed"),
    _ref("emergency_group"),
    _int("hours"),
    _text("description"),
    _moment("created_at"),
    _int("version", 1),
    _flag("deleted"),
    *_hot(),
)

approvals = sa.Table(
    "approvals",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("operation"),
    _text("target_type"),
    _ref("target_id"),
    _text("target_name"),
    _int("target_version"),
    _ref("requester"),
    _text("requester_name"),
    _text("digest"),
    _text("request"),
    sa.Column("terms", sa.JSON, nullable=False),
    _text("state"),
    _moment("created_at"),
    _moment("expires_at"),
    _maybe("ended_at"),
    _ref("used_by"),
    _int("version", 1),
    sa.Index("approvals_by_requester", "tenancy", "requester", "state"),
)

approval_votes = sa.Table(
    "approval_votes",
    metadata,
    _id("tenancy"),
    sa.Column("approval", sa.String(128), primary_key=True),
    sa.Column("user_id", sa.String(128), primary_key=True),
    _text("user_name"),
    _text("choice"),
    _text("comment"),
    _moment("at"),
)
