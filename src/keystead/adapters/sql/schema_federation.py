"""The tables of federation: identity providers, whom their subjects stand for, and provisioning.

None of it is read by the hot path: what follows from it (users, memberships, revocations) lies in identity's tables.
"""

import sqlalchemy as sa

from keystead.adapters.sql.schema import _blob, _flag, _id, _int, _moment, _ref, _text, _texts, metadata

identity_providers = sa.Table(
    "identity_providers",
    metadata,
    _id("tenancy"),
    _id(),
    _text("name"),
    _text("state"),
    _text("issuer"),
    _text("client_id"),
    _blob("sealed_secret"),
    _texts("scopes"),
    _texts("origins"),
    _text("ca"),
    _text("subject_claim"),
    _text("name_claim"),
    _text("groups_claim"),
    _flag("just_in_time"),
    _flag("links_provisioned"),
    _flag("trusts_factors"),
    _text("group_choice"),
    sa.Column("mappings", sa.JSON, nullable=False, default=list),
    _text("description"),
    _moment("created_at"),
    _int("version", 1),
    sa.Index("identity_providers_by_name", "tenancy", "name"),
)

federated_users = sa.Table(
    "federated_users",
    metadata,
    _id("tenancy"),
    _id("provider"),
    sa.Column("subject", sa.Text, primary_key=True),
    _ref("user"),
    _text("user_name"),
    _moment("created_at"),
    _flag("made"),
    sa.UniqueConstraint("tenancy", "provider", "user"),
)

federated_memberships = sa.Table(
    "federated_memberships", metadata, _id("tenancy"), _id("provider"), _id("group_id"), _id("user_id")
)

federated_sign_ins = sa.Table(
    "federated_sign_ins",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("provider"),
    _int("provider_version"),
    _ref("user"),
    _blob("code_digest"),
    _text("challenge"),
    _texts("factors"),
    _moment("expires_at"),
    _ref("token_id"),
    _ref("session"),
    sa.Index("federated_sign_ins_by_code", "code_digest"),
    sa.Index("federated_sign_ins_by_provider", "tenancy", "provider"),
)

provisioned = sa.Table(
    "provisioned",
    metadata,
    _id("tenancy"),
    _id(),
    _text("kind"),
    _text("external_id"),
    _text("attributes"),
    _moment("created_at"),
    _moment("changed_at"),
)
