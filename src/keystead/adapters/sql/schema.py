"""The tables of a region's state.

Invariants: the tenancy is part of every primary key; nothing here holds a key in clear; rows that the hot path reads
carry `generation`, the value of the region's counter when they last changed, and are never deleted but marked, so that
a reader fetches only what is newer than what it has (law 5).
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from keystead.core.clock import isoformat_exact

metadata = sa.MetaData()


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime as sortable text with microseconds."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else isoformat_exact(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class StringMap(sa.types.TypeDecorator[dict[str, str]]):
    """A small object of strings, as JSON text."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> Any | None:
        return None if value is None else dict(value)


class StringTuple(sa.types.TypeDecorator[tuple[str, ...]]):
    """A tuple of strings, as JSON text."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> Any | None:
        return None if value is None else list(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(value)


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.String(128), primary_key=True)


def _ref(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(128), nullable=False, default="")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, default="")


def _int(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, default=default)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, default=False)


def _moment(name: str) -> sa.Column[datetime]:
    return sa.Column(name, Moment, nullable=False)


def _maybe(name: str) -> sa.Column[datetime]:
    return sa.Column(name, Moment)


def _texts(name: str) -> sa.Column[tuple[str, ...]]:
    return sa.Column(name, StringTuple, nullable=False, default=())


def _map(name: str) -> sa.Column[dict[str, str]]:
    return sa.Column(name, StringMap, nullable=False, default=dict)


def _blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False, default=b"")


def _hot() -> list[sa.Column[Any]]:
    """What every row that the hot path reads carries."""
    return [sa.Column("generation", sa.BigInteger, nullable=False, index=True)]


region = sa.Table(
    "region",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    _int("generation", 1),
    _moment("changed_at"),
    _moment("created_at"),
    _flag("rollback_accepted"),
    _text("root_mark"),
)

tenancies = sa.Table(
    "tenancies", metadata, _id(), _text("name"), _moment("created_at"), _ref("administrators"), *_hot()
)

compartments = sa.Table(
    "compartments",
    metadata,
    _id("tenancy"),
    _id(),
    _text("name"),
    sa.Column("parent", sa.String(128)),
    sa.Column("path", StringTuple, nullable=False),
    _text("description"),
    _moment("created_at"),
    _int("version", 1),
    _map("tags"),
    *_hot(),
    sa.UniqueConstraint("tenancy", "parent", "name"),
)

users = sa.Table(
    "users",
    metadata,
    _id("tenancy"),
    _id(),
    _text("name"),
    _text("state"),
    _text("description"),
    _text("password_hash"),
    _moment("created_at"),
    _int("version", 1),
    *_hot(),
    sa.Index("users_by_name", "tenancy", "name"),
)

auth_tokens = sa.Table(
    "auth_tokens",
    metadata,
    _id("tenancy"),
    _id(),
    sa.Column("user", sa.String(128), nullable=False),
    _text("name"),
    _blob("digest"),
    _moment("created_at"),
    _moment("expires_at"),
    sa.Index("auth_tokens_by_id", "id"),
    sa.UniqueConstraint("tenancy", "user", "name"),
)

groups = sa.Table(
    "groups",
    metadata,
    _id("tenancy"),
    _id(),
    _text("name"),
    _text("description"),
    _flag("deleted"),
    _flag("require_factor"),
    _moment("created_at"),
    _int("version", 1),
    _int("break_glass_minutes", 240),
    _map("tags"),
    *_hot(),
)

memberships = sa.Table(
    "memberships",
    metadata,
    _id("tenancy"),
    sa.Column("group_id", sa.String(128), primary_key=True),
    sa.Column("user_id", sa.String(128), primary_key=True),
    _flag("deleted"),
    _maybe("expires_at"),
    *_hot(),
)

policies = sa.Table(
    "policies",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("name"),
    sa.Column("statements", StringTuple, nullable=False),
    _text("description"),
    _flag("deleted"),
    _moment("created_at"),
    _int("version", 1),
    *_hot(),
)

resource_principals = sa.Table(
    "resource_principals",
    metadata,
    _id("tenancy"),
    _id(),
    _text("type"),
    _text("name"),
    _ref("compartment"),
    _flag("deleted"),
    _map("tags"),
    *_hot(),
)

machines = sa.Table(
    "machines",
    metadata,
    _id(),
    _text("name"),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    _flag("deleted"),
    *_hot(),
)

revocations = sa.Table(
    "revocations",
    metadata,
    _id("tenancy"),
    sa.Column("subject", sa.String(128), primary_key=True),
    _moment("before"),
    *_hot(),
)

vaults = sa.Table(
    "vaults",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("name"),
    _text("protection"),
    _moment("created_at"),
    _int("version", 1),
    _text("changed_by"),
    _moment("changed_at"),
    _text("kind"),
    _text("state"),
    _maybe("deletion_at"),
    _maybe("purge_at"),
    _int("retention_days", 90),
    _flag("purge_protection"),
    _text("lock"),
    _texts("networks"),
    _texts("trusted_services"),
    _int("key_limit"),
    _blob("wrapped"),
    _map("tags"),
    *_hot(),
    sa.Index("vaults_by_compartment", "tenancy", "compartment", "name"),
)

keys = sa.Table(
    "keys",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _ref("vault"),
    _text("name"),
    _text("algorithm"),
    _text("state"),
    _int("current", 1),
    _moment("created_at"),
    _text("changed_by"),
    _moment("changed_at"),
    _ref("managed_by"),
    _int("version", 1),
    *_hot(),
    _text("protection"),
    _texts("operations"),
    _maybe("not_before"),
    _maybe("expires_at"),
    _maybe("deletion_at"),
    _maybe("purge_at"),
    _int("retention_days", 90),
    _flag("purge_protection"),
    _text("lock"),
    _map("tags"),
    _int("rotation_days"),
    _maybe("next_rotation_at"),
    _maybe("rotated_at"),
    _int("minimum_version", 1),
    _maybe("backed_up_at"),
    _ref("moved_from"),
    _int("warned_days", -1),
    sa.Index("keys_by_compartment", "tenancy", "compartment", "name"),
    sa.Index("keys_by_vault", "tenancy", "vault"),
    # What upkeep looks for; few keys have any of these.
    sa.Index("keys_by_rotation", "next_rotation_at"),
    sa.Index("keys_by_expiry", "expires_at"),
    sa.Index("keys_by_deletion", "deletion_at"),
    sa.Index("keys_by_purge", "purge_at"),
)

key_versions = sa.Table(
    "key_versions",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("key"),
    _int("number"),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    _moment("created_at"),
    *_hot(),
    _blob("public"),
    _text("origin"),
    _text("state"),
    _maybe("deletion_at"),
    _blob("fingerprint"),
    _text("changed_by"),
    _maybe("changed_at"),
    sa.UniqueConstraint("tenancy", "key", "number"),
    sa.Index("key_versions_by_fingerprint", "tenancy", "fingerprint"),
    sa.Index("key_versions_by_deletion", "deletion_at"),
)

wrapping_keys = sa.Table(
    "wrapping_keys",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("vault"),
    _ref("key"),
    _text("algorithm"),
    _text("way"),
    _ref("caller"),
    _blob("public"),
    _blob("wrapped"),
    _text("state"),
    _int("attempts"),
    _moment("created_at"),
    _moment("expires_at"),
    sa.Index("wrapping_keys_by_vault", "tenancy", "vault", "state"),
    sa.Index("wrapping_keys_by_expiry", "state", "expires_at"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("kind"),
    _ref("resource"),
    _text("resource_name"),
    _ref("requester"),
    _text("requester_name"),
    _text("state"),
    _text("step"),
    _int("percent"),
    sa.Column("input", StringMap, nullable=False),
    sa.Column("result", StringMap, nullable=False),
    _text("error_code"),
    _text("error"),
    _moment("created_at"),
    _moment("updated_at"),
    _int("attempts"),
    _int("version", 1),
    sa.Column("lease_owner", sa.String(128), nullable=False, default=""),
    sa.Column("lease_until", sa.Float, nullable=False, default=0.0),
    sa.Index("jobs_open", "state", "created_at"),
    sa.Index("jobs_by_compartment", "tenancy", "compartment"),
)

db_systems = sa.Table(
    "db_systems",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _text("name"),
    _text("state"),
    _text("desired"),
    _ref("key"),
    _int("key_version"),
    _flag("service_managed"),
    _text("admin_username"),
    _int("port"),
    _int("uid"),
    _int("memory_mb"),
    _flag("deletion_protection"),
    _flag("confirmed"),
    _text("reason"),
    _text("reason_text"),
    _moment("created_at"),
    _ref("machine"),
    _ref("node"),
    _ref("restored_from"),
    _int("version", 1),
    _int("key_counter"),
    _text("admin_password_hash"),
    _flag("follow_key"),
    _map("tags"),
    sa.Index("db_systems_by_compartment", "tenancy", "compartment", "name"),
)

wrapped_keys = sa.Table(
    "wrapped_keys",
    metadata,
    _id("tenancy"),
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("parent", sa.String(128), primary_key=True),
    _int("parent_version"),
    sa.Column("blob", sa.LargeBinary, nullable=False),
    _moment("created_at"),
    sa.Column("node", sa.String(128)),
    _flag("latest"),
)

backups = sa.Table(
    "backups",
    metadata,
    _id("tenancy"),
    _id(),
    _ref("compartment"),
    _ref("system"),
    _text("system_name"),
    _text("name"),
    _text("state"),
    _ref("key"),
    _int("key_version"),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    _int("size"),
    _moment("created_at"),
    sa.Column("detail", StringMap, nullable=False),
    _text("reason_text"),
    _int("version", 1),
    sa.Index("backups_by_compartment", "tenancy", "compartment", "name"),
)

fence_receipts = sa.Table(
    "fence_receipts",
    metadata,
    _id("tenancy"),
    sa.Column("system", sa.String(128), primary_key=True),
    sa.Column("committed_at", Moment, primary_key=True),
    _text("reason"),
    _text("reason_text"),
    sa.Column("steps", sa.JSON, nullable=False),
)

audit_outbox = sa.Table(
    "audit_outbox",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(128), nullable=False, unique=True),
    sa.Column("entry", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    _id("tenancy"),
    sa.Column("principal", sa.String(128), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("request_hash", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("granted", sa.LargeBinary, nullable=False),
    _moment("created_at"),
)

audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("writer", sa.String(64), primary_key=True),
    _int("sequence"),
    sa.Column("hash", sa.String(64), nullable=False),
)

# The tables of other files, part of the same metadata.
from keystead.adapters.sql import (  # noqa: E402  # they need `metadata`
    schema_approvals,  # noqa: F401  # for its tables
    schema_dynamic_groups,  # noqa: F401  # for its table
    schema_factors,  # noqa: F401  # for its tables
    schema_federation,  # noqa: F401  # for its tables
    schema_logins,  # noqa: F401  # for its tables
    schema_network_sources,  # noqa: F401  # for its table
    schema_tokens,  # noqa: F401  # for its tables
)
