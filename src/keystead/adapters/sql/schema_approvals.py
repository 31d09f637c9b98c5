"""Tables of break glass and approvals: part of the schema (schema.py)."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import _id, _maybe, _moment, _ref, _text, metadata

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
