"""Federation's rows."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql import schema_federation as tables
from keystead.adapters.sql.rows import Table, read, values
from keystead.core.ids import GroupId
from keystead.core.page import PageRequest
from keystead.iam.federation.model import FederatedSignIn, FederatedUser, GroupMapping, IdentityProvider
from keystead.iam.federation.ports import Provisioned
from keystead.iam.model import User


def _columns(provider: IdentityProvider) -> dict[str, Any]:
    return values(provider) | {"mappings": [asdict(each) for each in provider.mappings]}


def _provider(row: sa.RowMapping) -> IdentityProvider:
    found = dict(row)
    return read(IdentityProvider, found | {"mappings": tuple(GroupMapping(**each) for each in found["mappings"])})


class SqlFederationRows:
    """`FederationRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _table(self, table: sa.Table) -> Table:
        return Table(self._connection, table)

    # providers

    def add_provider(self, provider: IdentityProvider, sealed_secret: bytes) -> None:
        row = _columns(provider) | {"sealed_secret": sealed_secret}
        self._connection.execute(tables.identity_providers.insert().values(**row))

    def provider(self, tenancy: str, provider_id: str) -> IdentityProvider | None:
        table = tables.identity_providers
        return self._one(sa.select(table).where(table.c.tenancy == tenancy, table.c.id == provider_id))

    def provider_by_name(self, tenancy: str, name: str) -> IdentityProvider | None:
        table = tables.identity_providers
        return self._one(
            sa.select(table).where(table.c.tenancy == tenancy, sa.func.lower(table.c.name) == name.lower())
        )

    def providers(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[IdentityProvider]:
        table = tables.identity_providers
        query = sa.select(table).where(table.c.tenancy == tenancy).order_by(table.c.name).limit(page.limit + 1)
        if name:
            query = query.where(sa.func.lower(table.c.name) == name.lower())
        if page.after is not None:
            query = query.where(table.c.name > page.after)
        return [_provider(row) for row in self._connection.execute(query).mappings()]

    def sealed_secret(self, tenancy: str, provider_id: str) -> bytes:
        table = tables.identity_providers
        query = sa.select(table.c.sealed_secret).where(table.c.tenancy == tenancy, table.c.id == provider_id)
        return bytes(self._connection.execute(query).scalar_one())

    def set_provider(self, provider: IdentityProvider, expected: int, sealed_secret: bytes | None) -> bool:
        changes = _columns(provider)
        if sealed_secret is not None:
            changes["sealed_secret"] = sealed_secret
        where = {"tenancy": changes.pop("tenancy"), "id": changes.pop("id"), "version": expected}
        return self._table(tables.identity_providers).update(where, **changes) == 1

    def delete_provider(self, provider: IdentityProvider) -> bool:
        where = {"tenancy": provider.tenancy, "provider": provider.id}
        for table in (tables.federated_users, tables.federated_memberships, tables.federated_sign_ins):
            self._table(table).delete(**where)
        gone = self._table(tables.identity_providers).delete(
            tenancy=provider.tenancy, id=provider.id, version=provider.version
        )
        return gone == 1

    def _one(self, query: sa.Select[Any]) -> IdentityProvider | None:
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _provider(row)

    # whom subjects stand for

    def link(self, linked: FederatedUser) -> None:
        self._table(tables.federated_users).insert(linked)

    def linked(self, tenancy: str, provider_id: str, subject: str) -> FederatedUser | None:
        return self._table(tables.federated_users).one(
            FederatedUser, tenancy=tenancy, provider=provider_id, subject=subject
        )

    def link_of(self, tenancy: str, provider_id: str, user_id: str) -> FederatedUser | None:
        return self._table(tables.federated_users).one(
            FederatedUser, tenancy=tenancy, provider=provider_id, user=user_id
        )

    def links(self, tenancy: str, provider_id: str, page: PageRequest) -> Sequence[FederatedUser]:
        table = tables.federated_users
        query = (
            sa.select(table)
            .where(table.c.tenancy == tenancy, table.c.provider == provider_id)
            .order_by(table.c.user)
            .limit(page.limit + 1)
        )
        if page.after is not None:
            query = query.where(table.c.user > page.after)
        return [read(FederatedUser, dict(row)) for row in self._connection.execute(query).mappings()]

    def unlink(self, tenancy: str, provider_id: str, user_id: str) -> bool:
        return self._table(tables.federated_users).delete(tenancy=tenancy, provider=provider_id, user=user_id) == 1

    # memberships

    def memberships(self, tenancy: str, user_id: str, now: datetime) -> frozenset[str]:
        table = schema.memberships
        query = sa.select(table.c.group_id).where(
            table.c.tenancy == tenancy,
            table.c.user_id == user_id,
            table.c.deleted.is_(False),
            sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now),
        )
        return frozenset(self._connection.execute(query).scalars())

    def federated(self, tenancy: str, provider_id: str, user_id: str) -> frozenset[str]:
        table = tables.federated_memberships
        query = sa.select(table.c.group_id).where(
            table.c.tenancy == tenancy, table.c.provider == provider_id, table.c.user_id == user_id
        )
        return frozenset(self._connection.execute(query).scalars())

    def provided(self, tenancy: str, provider_id: str) -> Sequence[tuple[str, str]]:
        table = tables.federated_memberships
        query = sa.select(table.c.group_id, table.c.user_id).where(
            table.c.tenancy == tenancy, table.c.provider == provider_id
        )
        return [(row.group_id, row.user_id) for row in self._connection.execute(query)]

    def mark(self, tenancy: str, provider_id: str, group_id: str, user_id: str) -> None:
        row = {"tenancy": tenancy, "provider": provider_id, "group_id": group_id, "user_id": user_id}
        self._connection.execute(tables.federated_memberships.insert().values(**row))

    # sign-ins

    def begin(self, sign_in: FederatedSignIn) -> bool:
        table = tables.federated_sign_ins
        query = sa.select(table.c.id).where(table.c.tenancy == sign_in.tenancy, table.c.id == sign_in.id)
        if self._connection.execute(query).first() is not None:
            return False
        self._table(table).insert(sign_in)
        return True

    def returned(self, sign_in: FederatedSignIn) -> bool:
        where = {"tenancy": sign_in.tenancy, "id": sign_in.id, "user": ""}
        changes = {
            "user": sign_in.user,
            "code_digest": sign_in.code_digest,
            "factors": sign_in.factors,
            "provider_version": sign_in.provider_version,
            "expires_at": sign_in.expires_at,
        }
        return self._table(tables.federated_sign_ins).update(where, **changes) == 1

    def take(self, code_digest: bytes) -> FederatedSignIn | None:
        table = self._table(tables.federated_sign_ins)
        found = table.one(FederatedSignIn, code_digest=code_digest)
        if found is None or not table.update({"id": found.id, "code_digest": code_digest}, code_digest=b""):
            return None
        return found

    def waits(self, sign_in: FederatedSignIn, pending: str) -> None:
        where = {"tenancy": sign_in.tenancy, "id": sign_in.id, "token_id": "", "session": ""}
        self._table(tables.federated_sign_ins).update(where, session=pending)

    def waiting(self, tenancy: str, pending: str) -> FederatedSignIn | None:
        table = self._table(tables.federated_sign_ins)
        return table.one(FederatedSignIn, tenancy=tenancy, session=pending, token_id="")

    def ended(self, before: FederatedSignIn, after: FederatedSignIn) -> bool:
        provider = self.provider(before.tenancy, before.provider)
        if provider is None or provider.state != "ENABLED":
            return False
        if self.link_of(before.tenancy, before.provider, before.user) is None:
            return False
        where = {"tenancy": before.tenancy, "id": before.id, "token_id": "", "session": before.session}
        changes = {"token_id": after.token_id, "session": after.session, "expires_at": after.expires_at}
        return self._table(tables.federated_sign_ins).update(where, **changes) == 1

    def sign_ins(self, tenancy: str, provider_id: str, user_id: str | None) -> Sequence[FederatedSignIn]:
        table = self._table(tables.federated_sign_ins)
        return table.all(
            FederatedSignIn, "id", tenancy=tenancy, provider=provider_id, user=... if user_id is None else user_id
        )

    def forget_before(self, moment: datetime) -> None:
        table = tables.federated_sign_ins
        self._connection.execute(table.delete().where(table.c.expires_at < moment))


class SqlProvisioningRows:
    """`ProvisioningRows` on a connection. `generation` is that of this transaction."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._generation = generation

    def _table(self, table: sa.Table) -> Table:
        return Table(self._connection, table)

    def described(self, tenancy: str, item_id: str) -> Provisioned | None:
        return self._table(tables.provisioned).one(Provisioned, tenancy=tenancy, id=item_id)

    def all_described(self, tenancy: str, kind: str) -> Sequence[Provisioned]:
        return self._table(tables.provisioned).all(Provisioned, "id", tenancy=tenancy, kind=kind)

    def describe(self, item: Provisioned) -> None:
        self.forget(item.tenancy, item.id)
        self._table(tables.provisioned).insert(item)

    def forget(self, tenancy: str, item_id: str) -> None:
        self._table(tables.provisioned).delete(tenancy=tenancy, id=item_id)

    def rename_user(self, user: User, name: str) -> bool:
        where = {"tenancy": user.tenancy, "id": user.id, "version": user.version}
        changes = {"name": name, "version": user.version + 1, "generation": self._generation}
        return self._table(schema.users).update(where, **changes) == 1

    def rename_group(self, tenancy: str, group_id: GroupId, version: int, name: str) -> bool:
        where = {"tenancy": tenancy, "id": group_id, "version": version, "deleted": False}
        changes = {"name": name, "version": version + 1, "generation": self._generation}
        return self._table(schema.groups).update(where, **changes) == 1

    def groups_of_all(self, tenancy: str, group_id: str = "") -> Sequence[tuple[str, str]]:
        table = schema.memberships
        query = sa.select(table.c.group_id, table.c.user_id).where(
            table.c.tenancy == tenancy, table.c.deleted.is_(False), table.c.expires_at.is_(None)
        )
        if group_id:
            query = query.where(table.c.group_id == group_id)
        return [(row.group_id, row.user_id) for row in self._connection.execute(query)]
