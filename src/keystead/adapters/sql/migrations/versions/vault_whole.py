"""The vault, whole: states and deadlines of vaults, keys and versions, rotation, locks, tags."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _text(name: str, length: int | None = None, default: str = "") -> sa.Column[Any]:
    kind = sa.Text() if length is None else sa.String(length)
    return sa.Column(name, kind, nullable=False, server_default=default)


def _int(name: str, default: int) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=str(default))


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _json(name: str, default: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=False, server_default=default)


def _blob(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=False, server_default=sa.text("x''"))


def _maybe(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String(32))


def upgrade() -> None:
    _vaults()
    _keys()
    _versions()
    _wrapping_keys()
    _auth_tokens()
    op.add_column("db_systems", _flag("follow_key"))


def _vaults() -> None:
    for column in (
        _text("changed_by"),
        sa.Column("changed_at", sa.String(32), nullable=False, server_default="1970-01-01T00:00:00.000000Z"),
        _text("kind", default="shared"),
        _text("state", default="ACTIVE"),
        _maybe("deletion_at"),
        _maybe("purge_at"),
        _int("retention_days", 90),
        _flag("purge_protection"),
        _text("lock"),
        _json("networks", "[]"),
        _json("trusted_services", '["databases"]'),
        _int("key_limit", 0),
        _blob("wrapped"),
        _json("tags", "{}"),
        _int("generation", 1),
    ):
        op.add_column("vaults", column)
    op.execute("UPDATE vaults SET changed_at = created_at")
    op.create_index(op.f("ix_vaults_generation"), "vaults", ["generation"])


def _keys() -> None:
    for column in (
        _text("protection", default="software"),
        _json("operations", "[]"),
        _maybe("not_before"),
        _maybe("expires_at"),
        _maybe("deletion_at"),
        _maybe("purge_at"),
        _int("retention_days", 90),
        _flag("purge_protection"),
        _text("lock"),
        _json("tags", "{}"),
        _int("rotation_days", 0),
        _maybe("next_rotation_at"),
        _maybe("rotated_at"),
        _int("minimum_version", 1),
        _maybe("backed_up_at"),
        _text("moved_from", 128),
        _int("warned_days", -1),
    ):
        op.add_column("keys", column)
    op.create_index("keys_by_vault", "keys", ["tenancy", "vault"])
    op.create_index("keys_by_rotation", "keys", ["next_rotation_at"])
    op.create_index("keys_by_expiry", "keys", ["expires_at"])
    op.create_index("keys_by_deletion", "keys", ["deletion_at"])
    op.create_index("keys_by_purge", "keys", ["purge_at"])


def _versions() -> None:
    for column in (
        _blob("public"),
        _text("origin", default="generated"),
        _text("state", default="ENABLED"),
        _maybe("deletion_at"),
        _blob("fingerprint"),
        _text("changed_by"),
        _maybe("changed_at"),
    ):
        op.add_column("key_versions", column)
    op.create_index("key_versions_by_fingerprint", "key_versions", ["tenancy", "fingerprint"])
    op.create_index("key_versions_by_deletion", "key_versions", ["deletion_at"])


def _wrapping_keys() -> None:
    op.create_table(
        "wrapping_keys",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("vault", sa.String(128), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
    )
    op.create_index("wrapping_keys_by_vault", "wrapping_keys", ["tenancy", "vault", "state"])
    op.create_index("wrapping_keys_by_expiry", "wrapping_keys", ["state", "expires_at"])


def _auth_tokens() -> None:
    op.create_table(
        "auth_tokens",
        sa.Column("tenancy", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("tenancy", "user", "name"),
    )
    op.create_index("auth_tokens_by_id", "auth_tokens", ["id"])
