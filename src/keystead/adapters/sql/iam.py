"""Identity's rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table
from keystead.adapters.sql.schema_federation import federated_memberships
from keystead.core.page import PageRequest
from keystead.iam.model import AuthToken, Compartment, Group, Member, Policy, Tenancy, User, UserState
from keystead.iam.ports import Machine, Membership, ResourceIdentity, Revocation


class SqlIamRows:
    """`IamRows` on a connection. `generation` is that of this transaction: all these rows are read by the hot path."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._generation = generation

    def _table(self, table: sa.Table) -> Table:
        return Table(self._connection, table)

    def _upsert(self, table: sa.Table, values: dict[str, Any]) -> None:
        """Insert, or replace what is not part of the primary key."""
        keys = {column.name: values[column.name] for column in table.primary_key}
        rest = {name: value for name, value in values.items() if name not in keys}
        if not self._table(table).update(keys, generation=self._generation, **rest):
            self._connection.execute(table.insert().values(generation=self._generation, **values))

    def add_tenancy(self, tenancy: Tenancy) -> None:
        self._table(schema.tenancies).insert(tenancy, generation=self._generation)

    def tenancies(self, page: PageRequest, name: str | None) -> Sequence[Tenancy]:
        return self._table(schema.tenancies).page(Tenancy, page, name=name or ...)

    def add_compartment(self, compartment: Compartment) -> None:
        self._table(schema.compartments).insert(compartment, generation=self._generation)

    def compartments(self, tenancy: str, parent: str, page: PageRequest, name: str | None) -> Sequence[Compartment]:
        return self._table(schema.compartments).page(
            Compartment, page, tenancy=tenancy, parent=parent, name=name or ...
        )

    def set_compartment(self, compartment: Compartment, changed: Compartment) -> bool:
        return self._change(schema.compartments, compartment, tags=changed.tags)

    def add_user(self, user: User, password_hash: str) -> None:
        self._table(schema.users).insert(user, password_hash=password_hash, generation=self._generation)

    def user(self, tenancy: str, user_id: str) -> User | None:
        return self._table(schema.users).one(User, tenancy=tenancy, id=user_id, state=("ACTIVE", "BLOCKED"))

    def users(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[User]:
        living = ("ACTIVE", "BLOCKED")
        return self._table(schema.users).page(User, page, tenancy=tenancy, name=name or ..., state=living)

    def user_by_name(self, tenancy: str, name: str) -> tuple[User, str] | None:
        user = self._table(schema.users).one(User, tenancy=tenancy, name=name, state=("ACTIVE", "BLOCKED"))
        # Asked for nobody as well, who then costs as much as somebody.
        query = sa.select(schema.users.c.password_hash).where(schema.users.c.id == (user.id if user else ""))
        found = self._connection.execute(query).scalar()
        return (user, str(found)) if user is not None else None

    def set_user_state(self, user: User, state: UserState) -> bool:
        return self._change(schema.users, user, state=state)

    def set_password(self, user: User, password_hash: str) -> bool:
        return self._change(schema.users, user, password_hash=password_hash)

    def add_auth_token(self, token: AuthToken, digest: bytes) -> None:
        self._table(schema.auth_tokens).insert(token, digest=digest)

    def auth_token(self, token_id: str) -> tuple[AuthToken, bytes] | None:
        table = schema.auth_tokens
        found = self._table(table).one(AuthToken, id=token_id)
        digest = self._connection.execute(sa.select(table.c.digest).where(table.c.id == token_id)).scalar()
        return (found, bytes(digest)) if found is not None and digest is not None else None

    def auth_tokens(self, tenancy: str, user: str, page: PageRequest, name: str | None) -> Sequence[AuthToken]:
        return self._table(schema.auth_tokens).page(AuthToken, page, tenancy=tenancy, user=user, name=name or ...)

    def delete_auth_token(self, tenancy: str, user: str, token_id: str) -> bool:
        return self._table(schema.auth_tokens).delete(tenancy=tenancy, user=user, id=token_id) == 1

    def delete_auth_tokens(self, tenancy: str, user: str) -> None:
        self._table(schema.auth_tokens).delete(tenancy=tenancy, user=user)

    def add_group(self, group: Group) -> None:
        self._table(schema.groups).insert(group, deleted=False, generation=self._generation)

    def group(self, tenancy: str, group_id: str) -> Group | None:
        return self._table(schema.groups).one(Group, tenancy=tenancy, id=group_id, deleted=False)

    def groups(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[Group]:
        return self._table(schema.groups).page(Group, page, tenancy=tenancy, name=name or ..., deleted=False)

    def set_group(self, group: Group, changed: Group) -> bool:
        return self._change(
            schema.groups,
            group,
            description=changed.description,
            break_glass_minutes=changed.break_glass_minutes,
            require_factor=changed.require_factor,
            tags=changed.tags,
        )

    def delete_group(self, group: Group) -> bool:
        return self._change(schema.groups, group, deleted=True)

    def set_membership(self, membership: Membership) -> None:
        """Whoever had brought it about before, it is so from now on because it was said here."""
        self._table(federated_memberships).delete(
            tenancy=membership.tenancy, group_id=membership.group_id, user_id=membership.user_id
        )
        self._upsert(
            schema.memberships,
            {
                "tenancy": membership.tenancy,
                "group_id": membership.group_id,
                "user_id": membership.user_id,
                "deleted": membership.deleted,
                "expires_at": membership.expires_at,
            },
        )

    def end_membership(self, tenancy: str, group_id: str, user_id: str, expires_at: datetime) -> None:
        where = {"tenancy": tenancy, "group_id": group_id, "user_id": user_id, "expires_at": expires_at}
        self._table(schema.memberships).update(where, deleted=True, generation=self._generation)

    def is_member(self, tenancy: str, group_id: str, user_id: str, now: datetime) -> bool:
        found = self._running(tenancy, group_id, now).where(schema.memberships.c.user_id == user_id)
        return self._connection.execute(found).first() is not None

    def members(self, tenancy: str, group_id: str, page: PageRequest, now: datetime) -> Sequence[Member]:
        rows = self._connection.execute(self._running(tenancy, group_id, now))
        until = {row.user_id: row.expires_at for row in rows}
        users = self._table(schema.users).page(
            User, page, tenancy=tenancy, id=tuple(until), state=("ACTIVE", "BLOCKED")
        )
        return [Member(user, until[user.id]) for user in users]

    def _running(self, tenancy: str, group_id: str, now: datetime) -> sa.Select[Any]:
        """Users and ends of the memberships that count now."""
        columns = schema.memberships.c
        return sa.select(columns.user_id, columns.expires_at).where(
            columns.tenancy == tenancy,
            columns.group_id == group_id,
            columns.deleted.is_(False),
            sa.or_(columns.expires_at.is_(None), columns.expires_at > now),
        )

    def add_policy(self, policy: Policy) -> None:
        self._table(schema.policies).insert(policy, deleted=False, generation=self._generation)

    def policy(self, tenancy: str, policy_id: str) -> Policy | None:
        return self._table(schema.policies).one(Policy, tenancy=tenancy, id=policy_id, deleted=False)

    def policies(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Policy]:
        return self._table(schema.policies).page(
            Policy, page, tenancy=tenancy, compartment=compartment, name=name or ..., deleted=False
        )

    def set_policy(self, policy: Policy, expected: int, *, deleted: bool = False) -> bool:
        where = {"tenancy": policy.tenancy, "id": policy.id, "version": expected, "deleted": False}
        changed = self._table(schema.policies).update(
            where,
            statements=policy.statements,
            description=policy.description,
            version=policy.version,
            deleted=deleted,
            generation=self._generation,
        )
        return changed == 1

    def set_identity(self, identity: ResourceIdentity) -> None:
        self._upsert(
            schema.resource_principals,
            {
                "tenancy": identity.tenancy,
                "id": identity.id,
                "type": identity.type,
                "name": identity.name,
                "compartment": identity.compartment,
                "deleted": identity.deleted,
                "tags": dict(identity.tags),
            },
        )

    def tag_identity(self, tenancy: str, resource: str, tags: Mapping[str, str]) -> None:
        """One that was taken away stays so."""
        self._table(schema.resource_principals).update(
            {"tenancy": tenancy, "id": resource}, tags=dict(tags), generation=self._generation
        )

    def add_machine(self, machine: Machine) -> None:
        self._table(schema.machines).insert(machine, generation=self._generation)

    def revoke(self, revocation: Revocation) -> None:
        self._upsert(
            schema.revocations,
            {"tenancy": revocation.tenancy, "subject": revocation.subject, "before": revocation.before},
        )

    def _change(self, table: sa.Table, item: User | Group | Compartment, **changes: Any) -> bool:
        """Compare-and-set on the version that was read."""
        where = {"tenancy": item.tenancy, "id": item.id, "version": item.version}
        return self._table(table).update(where, version=item.version + 1, generation=self._generation, **changes) == 1
