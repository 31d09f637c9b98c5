"""The tables of signing in: second factors, sign-ins under way, budgets of attempts, what was seen before."""

import sqlalchemy as sa

from keystead.adapters.sql.schema import Moment, _blob, _id, _int, _maybe, _moment, _ref, _text, metadata


def _mark(name: str = "mark") -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, primary_key=True)


factors = sa.Table(
    "factors",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("user"),
    _text("kind"),
    _text("name"),
    _text("state"),
    _moment("created_at"),
    _maybe("last_used_at"),
    _blob("sealed"),
    _blob("credential"),
    _blob("public_key"),
    _int("counter"),
    sa.Index("factors_by_user", "tenancy", "user"),
)

recovery_codes = sa.Table("recovery_codes", metadata, _id("tenancy"), _id("user"), _mark("digest"))

pending_sign_ins = sa.Table(
    "pending_sign_ins",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("user"),
    _int("user_version"),
    _blob("digest"),
    _text("state"),
    _text("source"),
    _moment("created_at"),
    _moment("expires_at"),
    _int("risk"),
    _blob("device"),
    _int("tries"),
    _blob("nonce"),
    _text("number"),
    _text("answer"),
    _text("answered_from"),
    _maybe("asked_at"),
    _ref("session"),
    _maybe("done_at"),
    sa.Index("pending_sign_ins_by_user", "tenancy", "user", "created_at"),
)

# Of names as they were typed: whether there is such a tenancy or user is not known here.
sign_in_budgets = sa.Table(
    "sign_in_budgets",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    _mark(),
    _int("spent"),
    sa.Column("at", Moment, nullable=False, index=True),
    _moment("until"),
)

seen_sign_ins = sa.Table(
    "seen_sign_ins",
    metadata,
    _id("tenancy"),
    _id("user"),
    sa.Column("kind", sa.String(16), primary_key=True),
    _mark(),
    _moment("first_at"),
    _moment("last_at"),
)

sign_in_settings = sa.Table("sign_in_settings", metadata, _id("tenancy"), _text("factor_from"), _text("refuse_from"))
