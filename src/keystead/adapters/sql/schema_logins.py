"""Tables of logins to databases."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import _id, _int, _moment, _ref, _text, _texts, metadata

login_mappings = sa.Table(
    "login_mappings",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("system"),
    _text("kind"),
    _ref("subject"),
    _text("subject_name"),
    _text("account"),
    _text("client"),
    _texts("roles"),
    _texts("grants"),
    _int("precedence"),
    _text("state"),
    _text("reason_text"),
    _moment("created_at"),
    sa.UniqueConstraint("tenancy", "system", "account", name="login_mappings_account"),
    sa.UniqueConstraint("tenancy", "system", "subject", name="login_mappings_subject"),
)
