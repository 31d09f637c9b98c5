"""`Freshness` on SQLite: one prepared read per request (about 3 microseconds), raw sqlite3 because it is that often.

One connection per thread. The region's row and the changed rows are read in one transaction, so a snapshot is that of
its generation and of no other.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from keystead.core.errors import Unavailable
from keystead.iam.approvals.model import Rule
from keystead.iam.model import Compartment, DynamicGroup, Group, NetworkSource, Policy, Tenancy, User
from keystead.iam.ports import IdentityChanges, Machine, Membership, ResourceIdentity, Revocation
from keystead.iam.sessions.model import ApiKey
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.ports import Changes, KeyChanges

_moment = datetime.fromisoformat
NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class SqliteFreshness:
    """Reads generations and changes from the region's SQLite file."""

    def __init__(self, path: Path, timeout: float = 2.0) -> None:
        self._path = path
        self._timeout = timeout
        self._local = threading.local()

    def generation(self) -> int:
        try:
            row = self._connection().execute("SELECT generation FROM region").fetchone()
        except sqlite3.Error as error:
            raise _gone() from error
        if row is None:
            raise _gone()
        return int(row[0])

    def changes(self, since: int, *, keys: bool = True) -> Changes:
        with self._transaction() as connection:
            generation, at = connection.execute("SELECT generation, changed_at FROM region").fetchone()
            vault = _vault(connection, since, keys)
            return Changes(generation, _moment(at), _identity(connection, since), vault)

    def key(self, key_id: str) -> KeyChanges:
        with self._transaction() as connection:
            row = connection.execute(_ONE_KEY, (key_id,)).fetchone()
            if row is None:
                return KeyChanges()
            key = _key(row)
            found = connection.execute(_VERSIONS_OF, (key.tenancy, key.id))
            return KeyChanges([key], [_version(each) for each in found])

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            uri = f"{self._path.absolute().as_uri()}?mode=rw"
            found = sqlite3.connect(uri, uri=True, timeout=self._timeout, isolation_level=None)
            found.row_factory = None
            self._local.connection = found
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _gone() from error


def _gone() -> Unavailable:
    return Unavailable("StateUnavailable", "the region's state does not answer", hint="try again in a moment")


def _rows(connection: sqlite3.Connection, columns: str, table: str, since: int) -> Iterator[tuple[Any, ...]]:
    asked = f"SELECT {columns} FROM {table} WHERE generation > ?"  # noqa: S608  # names are constants of this file
    yield from connection.execute(asked, (since,))


_MARKS = "description, created_at, version, deleted"


def _identity(connection: sqlite3.Connection, since: int) -> IdentityChanges:
    return IdentityChanges(
        tenancies=_tenancies(connection, since),
        compartments=_compartments(connection, since),
        users=_users(connection, since),
        groups=_groups(connection, since),
        memberships=_memberships(connection, since),
        policies=_policies(connection, since),
        dynamic_groups=_dynamic_groups(connection, since),
        network_sources=_network_sources(connection, since),
        approval_rules=_approval_rules(connection, since),
        identities=_identities(connection, since),
        machines=_machines(connection, since),
        revocations=_revocations(connection, since),
        api_keys=_api_keys(connection, since),
    )


def _tenancies(connection: sqlite3.Connection, since: int) -> list[Tenancy]:
    return [
        Tenancy(i, name, _moment(at), administrators)
        for i, name, at, administrators in _rows(connection, "id, name, created_at, administrators", "tenancies", since)
    ]


def _compartments(connection: sqlite3.Connection, since: int) -> list[Compartment]:
    return [
        Compartment(i, tenancy, name, parent, tuple(json.loads(path)), text, _moment(at), version, _map(tags))
        for i, tenancy, name, parent, path, text, at, version, tags in _rows(
            connection, "id, tenancy, name, parent, path, description, created_at, version, tags", "compartments", since
        )
    ]


def _users(connection: sqlite3.Connection, since: int) -> list[User]:
    return [
        User(i, tenancy, name, state, text, _moment(at), version)
        for i, tenancy, name, state, text, at, version in _rows(
            connection, "id, tenancy, name, state, description, created_at, version", "users", since
        )
    ]


def _groups(connection: sqlite3.Connection, since: int) -> list[tuple[Group, bool]]:
    return [
        (Group(i, tenancy, name, text, _moment(at), version, minutes, bool(factor), _map(tags)), bool(deleted))
        for i, tenancy, name, text, at, version, minutes, factor, tags, deleted in _rows(
            connection,
            "id, tenancy, name, description, created_at, version, break_glass_minutes, require_factor, tags, deleted",
            "groups",
            since,
        )
    ]


def _memberships(connection: sqlite3.Connection, since: int) -> list[Membership]:
    return [
        Membership(tenancy, group, user, bool(deleted), _when(until))
        for tenancy, group, user, deleted, until in _rows(
            connection, "tenancy, group_id, user_id, deleted, expires_at", "memberships", since
        )
    ]


def _dynamic_groups(connection: sqlite3.Connection, since: int) -> list[tuple[DynamicGroup, bool]]:
    return [
        (DynamicGroup(i, tenancy, name, rule, text, _moment(at), version), bool(deleted))
        for i, tenancy, name, rule, text, at, version, deleted in _rows(
            connection, f"id, tenancy, name, matching_rule, {_MARKS}", "dynamic_groups", since
        )
    ]


def _network_sources(connection: sqlite3.Connection, since: int) -> list[tuple[NetworkSource, bool]]:
    return [
        (NetworkSource(i, tenancy, name, tuple(json.loads(networks)), text, _moment(at), version), bool(deleted))
        for i, tenancy, name, networks, text, at, version, deleted in _rows(
            connection, f"id, tenancy, name, networks, {_MARKS}", "network_sources", since
        )
    ]


def _identities(connection: sqlite3.Connection, since: int) -> list[ResourceIdentity]:
    return [
        ResourceIdentity(tenancy, i, kind, name, compartment, bool(deleted), _map(tags))
        for tenancy, i, kind, name, compartment, deleted, tags in _rows(
            connection, "tenancy, id, type, name, compartment, deleted, tags", "resource_principals", since
        )
    ]


def _machines(connection: sqlite3.Connection, since: int) -> list[Machine]:
    return [
        Machine(i, name, public, bool(deleted))
        for i, name, public, deleted in _rows(connection, "id, name, public_key, deleted", "machines", since)
    ]


def _revocations(connection: sqlite3.Connection, since: int) -> list[Revocation]:
    return [
        Revocation(tenancy, subject, _moment(before))
        for tenancy, subject, before in _rows(connection, "tenancy, subject, before", "revocations", since)
    ]


def _api_keys(connection: sqlite3.Connection, since: int) -> list[tuple[ApiKey, bool]]:
    return [
        (ApiKey(i, tenancy, user, name, fingerprint, public, _moment(at)), bool(deleted))
        for i, tenancy, user, name, fingerprint, public, at, deleted in _rows(
            connection, 'id, tenancy, "user", name, fingerprint, public_key, created_at, deleted', "api_keys", since
        )
    ]


def _approval_rules(connection: sqlite3.Connection, since: int) -> list[tuple[Rule, bool]]:
    columns = (
        "deleted, operations, created_at, id, tenancy, compartment, name, group_id, needed, emergency_group, hours, "
        "description, version"
    )
    return [
        (Rule(i, tenancy, place, name, tuple(json.loads(names)), group, needed, emergency, hours, text, _moment(at), v),
         bool(deleted))
        for deleted, names, at, i, tenancy, place, name, group, needed, emergency, hours, text, v in _rows(
            connection, columns, "approval_rules", since
        )
    ]  # fmt: skip


def _policies(connection: sqlite3.Connection, since: int) -> list[tuple[Policy, bool]]:
    columns = "id, tenancy, compartment, name, statements, description, created_at, version, deleted"
    return [
        (Policy(i, tenancy, place, name, tuple(json.loads(texts)), about, _moment(at), version), bool(deleted))
        for i, tenancy, place, name, texts, about, at, version, deleted in _rows(connection, columns, "policies", since)
    ]


def _vault(connection: sqlite3.Connection, since: int, keys: bool) -> KeyChanges:
    return KeyChanges(
        keys=[_key(row) for row in _rows(connection, _KEY, "keys", since)] if keys else (),
        versions=[_version(row) for row in _rows(connection, _VERSION, "key_versions", since)] if keys else (),
        vaults=[_one_vault(row) for row in _rows(connection, _VAULT, "vaults", since)],
    )


# Columns in the order of the fields.
_KEY = ", ".join(field.name for field in fields(Key))
_VERSION = ", ".join(field.name for field in fields(KeyVersion))
_VAULT = ", ".join(field.name for field in fields(Vault))
# By the primary key, whose first column is the tenancy: there are few of those. Constants, no input.
_ONE_KEY = f"SELECT {_KEY} FROM keys WHERE tenancy IN (SELECT id FROM tenancies) AND id = ?"  # noqa: S608  # names are constants
_VERSIONS_OF = f"SELECT {_VERSION} FROM key_versions WHERE tenancy = ? AND key = ?"  # noqa: S608  # names are constants


def _when(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)


def _texts(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _map(text: str) -> Mapping[str, str]:
    return NO_TAGS if text == "{}" else json.loads(text)


def _key(row: tuple[Any, ...]) -> Key:
    (
        i, tenancy, place, vault, name, kind, state, current, made, who, at, managed, protection, operations, start,
        end, deletion, purge, retention, protected, lock, tags, days, rotation, rotated, minimum, backed_up, moved,
        warned, version,
    ) = row  # fmt: skip
    return Key(
        i, tenancy, place, vault, name, kind, state, current, _moment(made), who, _moment(at), managed, protection,
        _texts(operations), _when(start), _when(end), _when(deletion), _when(purge), retention, bool(protected), lock,
        _map(tags), days, _when(rotation), _when(rotated), minimum, _when(backed_up), moved, warned, version,
    )  # fmt: skip


def _version(row: tuple[Any, ...]) -> KeyVersion:
    i, key, number, wrapped, made, public, origin, state, deletion, fingerprint, who, at = row
    return KeyVersion(
        i, key, number, wrapped, _moment(made), public, origin, state, _when(deletion), fingerprint, who, _when(at)
    )


def _one_vault(row: tuple[Any, ...]) -> Vault:
    (
        i, tenancy, place, name, protection, made, who, at, kind, state, deletion, purge, retention, protected, lock,
        networks, services, limit, wrapped, tags, version,
    ) = row  # fmt: skip
    return Vault(
        i, tenancy, place, name, protection, _moment(made), who, _moment(at), kind, state, _when(deletion),
        _when(purge), retention, bool(protected), lock, _texts(networks), _texts(services), limit, wrapped, _map(tags),
        version,
    )  # fmt: skip
