"""Identity, whole: sessions and keys of principals, factors, federation, approvals, logins to databases."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _policy()
    _tokens()
    _factors()
    _federation()
    _approvals()
    _logins()


def _policy() -> None:
    """Dynamic groups, network sources, and which group no deny statement of a tenancy is meant for."""
    op.add_column("tenancies", sa.Column("administrators", sa.String(128), nullable=False, server_default=""))
    # Until now there was one way to make a tenancy, which made this group.
    op.execute(
        "UPDATE tenancies SET administrators = coalesce((SELECT id FROM groups WHERE groups.tenancy = tenancies.id"
        " AND lower(groups.name) = 'administrators' AND NOT groups.deleted), '')"
    )
    for name, column in (
        ("dynamic_groups", sa.Column("matching_rule", sa.Text(), nullable=False)),
        ("network_sources", sa.Column("networks", sa.JSON(), nullable=False)),
    ):
        op.create_table(
            name,
            sa.Column("tenancy", sa.String(128), primary_key=True),
            sa.Column("id", sa.String(128), primary_key=True),
            sa.Column("name", sa.Text(), nullable=False),
            column,
            sa.Column("description", sa.Text(), nullable=False),
            sa.Column("deleted", sa.Boolean(), nullable=False),
            sa.Column("created_at", sa.String(32), nullable=False),
            sa.Column("version", sa.BigInteger(), nullable=False),
            sa.Column("generation", sa.BigInteger(), nullable=False),
        )
        op.create_index(f"ix_{name}_generation", name, ["generation"])


def _tokens() -> None:
    """Sessions, API signing keys, grants of the browser and device logins, the region's keys that sign tokens."""
    op.create_table(
        "sessions",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("principal", sa.String(128), nullable=False),
        sa.Column("factors", sa.JSON, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("risk", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("refreshed_at", sa.String(32), nullable=False),
        sa.Column("limit_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32)),
    )
    op.create_index("sessions_by_principal", "sessions", ["tenancy", "principal"])
    op.create_table(
        "api_keys",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_index(op.f("ix_api_keys_generation"), "api_keys", ["generation"], unique=False)
    op.create_table(
        "login_grants",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("given", sa.JSON, nullable=False),
        sa.Column("tries", sa.BigInteger, nullable=False),
        sa.Column("polled_at", sa.String(32)),
        sa.Column("expires_at", sa.String(32), nullable=False),
    )
    op.create_index("login_grants_by_code", "login_grants", ["kind", "code"])
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("retired_at", sa.String(32)),
    )


def _factors() -> None:
    """Second factors, recovery codes, sign-ins seen before."""
    op.add_column("groups", sa.Column("require_factor", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "factors",
        *_keys("tenancy", "id"),
        *_strings("user", length=128),
        *_strings("kind", "name", "state"),
        *_times("created_at"),
        *_times("last_used_at", nullable=True),
        *_blobs("sealed", "credential", "public_key"),
        *_counts("counter"),
    )
    op.create_index("factors_by_user", "factors", ["tenancy", "user"])
    op.create_table("recovery_codes", *_keys("tenancy", "user"), _mark("digest"))
    op.create_table(
        "pending_sign_ins",
        *_keys("tenancy", "id"),
        *_strings("user", "session", length=128),
        *_strings("state", "source", "number", "answer", "answered_from"),
        *_times("created_at", "expires_at"),
        *_times("asked_at", "done_at", nullable=True),
        *_blobs("digest", "device", "nonce"),
        *_counts("user_version", "risk", "tries"),
    )
    op.create_index("pending_sign_ins_by_user", "pending_sign_ins", ["tenancy", "user", "created_at"])
    op.create_table(
        "sign_in_budgets",
        sa.Column("kind", sa.String(16), primary_key=True),
        _mark("mark"),
        *_counts("spent"),
        *_times("at", "until"),
    )
    op.create_index("ix_sign_in_budgets_at", "sign_in_budgets", ["at"])
    op.create_table(
        "seen_sign_ins",
        *_keys("tenancy", "user"),
        sa.Column("kind", sa.String(16), primary_key=True),
        _mark("mark"),
        *_times("first_at", "last_at"),
    )
    op.create_table("sign_in_settings", *_keys("tenancy"), *_strings("factor_from", "refuse_from"))


def _keys(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(128), primary_key=True) for name in names]


def _mark(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), primary_key=True)


def _strings(*names: str, length: int | None = None) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(length) if length else sa.Text(), nullable=False) for name in names]


def _times(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(32), nullable=nullable) for name in names]


def _blobs(*names: str) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary(), nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _federation() -> None:
    """Identity providers and provisioning."""
    op.create_table(
        "federated_memberships",
        sa.Column("tenancy", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=128), nullable=False),
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("tenancy", "provider", "group_id", "user_id"),
    )
    op.create_table(
        "federated_sign_ins",
        sa.Column("tenancy", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=128), nullable=False),
        sa.Column("provider_version", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.String(length=128), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("factors", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("token_id", sa.String(length=128), nullable=False),
        sa.Column("session", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("tenancy", "id"),
    )
    op.create_index("federated_sign_ins_by_code", "federated_sign_ins", ["code_digest"], unique=False)
    op.create_index("federated_sign_ins_by_provider", "federated_sign_ins", ["tenancy", "provider"], unique=False)
    op.create_table(
        "federated_users",
        sa.Column("tenancy", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=128), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user", sa.String(length=128), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("made", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenancy", "provider", "subject"),
        sa.UniqueConstraint("tenancy", "provider", "user"),
    )
    op.create_table(
        "identity_providers",
        sa.Column("tenancy", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("origins", sa.JSON(), nullable=False),
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("subject_claim", sa.Text(), nullable=False),
        sa.Column("name_claim", sa.Text(), nullable=False),
        sa.Column("groups_claim", sa.Text(), nullable=False),
        sa.Column("just_in_time", sa.Boolean(), nullable=False),
        sa.Column("links_provisioned", sa.Boolean(), nullable=False),
        sa.Column("trusts_factors", sa.Boolean(), nullable=False),
        sa.Column("group_choice", sa.Text(), nullable=False),
        sa.Column("mappings", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenancy", "id"),
    )
    op.create_index("identity_providers_by_name", "identity_providers", ["tenancy", "name"], unique=False)
    op.create_table(
        "provisioned",
        sa.Column("tenancy", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("tenancy", "id"),
    )


def _approvals() -> None:
    """Memberships that end, and requests that wait for approval."""
    op.add_column("memberships", sa.Column("expires_at", sa.String(32)))
    minutes = sa.Column("break_glass_minutes", sa.BigInteger(), nullable=False, server_default="240")
    op.add_column("groups", minutes)
    words = ("group_id", "user_id", "granted_by", "ended_by")
    op.create_table(
        "break_glass",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        *(sa.Column(name, sa.String(128), nullable=False) for name in words),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("group_name", "user_name", "reason", "granted_by_name", "how")
        ),
        sa.Column("began_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.String(32)),
    )
    op.create_index("break_glass_by_end", "break_glass", ["ended_at", "expires_at"])
    _rules()
    _requests()


def _keyed(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(128), primary_key=True) for name in names]


def _refs(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(128), nullable=False) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _moments(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(32), nullable=False) for name in names]


def _rules() -> None:
    op.create_table(
        "approval_rules",
        *_keyed("tenancy", "id"),
        *_refs("compartment", "group_id", "emergency_group"),
        *_texts("name", "description"),
        sa.Column("operations", sa.JSON(), nullable=False),
        *_numbers("needed", "hours", "version", "generation"),
        *_moments("created_at"),
        sa.Column("deleted", sa.Boolean(), nullable=False),
    )
    op.create_index(op.f("ix_approval_rules_generation"), "approval_rules", ["generation"])


def _requests() -> None:
    op.create_table(
        "approvals",
        *_keyed("tenancy", "id"),
        *_refs("compartment", "target_id", "requester", "used_by"),
        *_texts("operation", "target_type", "target_name", "requester_name", "digest", "request", "state"),
        *_numbers("target_version", "version"),
        sa.Column("terms", sa.JSON(), nullable=False),
        *_moments("created_at", "expires_at"),
        sa.Column("ended_at", sa.String(32)),
    )
    op.create_index("approvals_by_requester", "approvals", ["tenancy", "requester", "state"])
    op.create_table(
        "approval_votes",
        *_keyed("tenancy", "approval", "user_id"),
        *_texts("user_name", "choice", "comment"),
        *_moments("at"),
    )


def _logins() -> None:
    """Who may log in to which database, and as whom."""
    op.create_table(
        "login_mappings",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("system", sa.String(128), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("subject_name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("precedence", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason_text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("tenancy", "system", "account", name="login_mappings_account"),
        sa.UniqueConstraint("tenancy", "system", "subject", name="login_mappings_subject"),
    )
