"""Rows of signing in. None of them is read by the hot path, so none carries a generation."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from keystead.adapters.sql import schema_factors as schema
from keystead.adapters.sql.rows import Table, read, values
from keystead.iam.factors.lockout import Budget, BudgetKind
from keystead.iam.factors.model import Factor, FactorSecrets, PendingSignIn, Seen, SignInSettings


class SqlFactorRows:
    """`FactorRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _table(self, table: sa.Table) -> Table:
        return Table(self._connection, table)

    # factors

    def add_factor(self, factor: Factor, held: FactorSecrets) -> None:
        self._table(schema.factors).insert(factor, **values(held))

    def factor(self, tenancy: str, user: str, factor_id: str) -> tuple[Factor, FactorSecrets] | None:
        found = self._factors(tenancy, user, schema.factors.c.id == factor_id)
        return found[0] if found else None

    def factors(self, tenancy: str, user: str) -> Sequence[tuple[Factor, FactorSecrets]]:
        return self._factors(tenancy, user)

    def _factors(
        self, tenancy: str, user: str, *more: sa.ColumnElement[bool]
    ) -> Sequence[tuple[Factor, FactorSecrets]]:
        table = schema.factors
        query = sa.select(table).where(table.c.tenancy == tenancy, table.c.user == user, *more)
        rows = self._connection.execute(query.order_by(table.c.created_at, table.c.id)).mappings()
        return [(read(Factor, dict(row)), read(FactorSecrets, dict(row))) for row in rows]

    def credential_known(self, credential: bytes) -> bool:
        table = schema.factors
        query = sa.select(table.c.id).where(table.c.credential == credential, table.c.kind == "webauthn")
        return self._connection.execute(query).first() is not None

    def activate_factor(self, factor: Factor, held: FactorSecrets) -> bool:
        where = {"tenancy": factor.tenancy, "user": factor.user, "id": factor.id, "state": "PENDING"}
        changed = {"name": factor.name, "state": "ACTIVE", "last_used_at": factor.last_used_at, **values(held)}
        return self._table(schema.factors).update(where, **changed) == 1

    def use_factor(self, factor: Factor, before: int, counter: int, now: datetime) -> bool:
        where = {"tenancy": factor.tenancy, "id": factor.id, "state": "ACTIVE", "counter": before}
        return self._table(schema.factors).update(where, counter=counter, last_used_at=now) == 1

    def delete_factor(self, tenancy: str, user: str, factor_id: str) -> bool:
        return self._table(schema.factors).delete(tenancy=tenancy, user=user, id=factor_id) == 1

    def drop_pending(self, tenancy: str, user: str) -> None:
        self._table(schema.factors).delete(tenancy=tenancy, user=user, state="PENDING")

    # recovery codes

    def set_codes(self, tenancy: str, user: str, digests: Sequence[bytes]) -> None:
        table = schema.recovery_codes
        self._table(table).delete(tenancy=tenancy, user=user)
        if digests:
            rows = [{"tenancy": tenancy, "user": user, "digest": digest} for digest in digests]
            self._connection.execute(table.insert(), rows)

    def use_code(self, tenancy: str, user: str, digest: bytes) -> bool:
        return self._table(schema.recovery_codes).delete(tenancy=tenancy, user=user, digest=digest) == 1

    def codes_left(self, tenancy: str, user: str) -> int:
        table = schema.recovery_codes
        query = sa.select(sa.func.count()).where(table.c.tenancy == tenancy, table.c.user == user)
        return int(self._connection.execute(query).scalar_one())

    # sign-ins under way

    def add_sign_in(self, pending: PendingSignIn) -> None:
        self._table(schema.pending_sign_ins).insert(pending)

    def sign_in(self, sign_in_id: str) -> PendingSignIn | None:
        return self._table(schema.pending_sign_ins).one(PendingSignIn, id=sign_in_id)

    def change_sign_in(self, before: PendingSignIn, after: PendingSignIn) -> bool:
        where = {
            "tenancy": before.tenancy,
            "id": before.id,
            "state": before.state,
            "tries": before.tries,
            "answer": before.answer,
            "nonce": before.nonce,
        }
        return self._table(schema.pending_sign_ins).update(where, **values(after)) == 1

    def sign_ins(self, tenancy: str, user: str, since: datetime) -> Sequence[PendingSignIn]:
        table = schema.pending_sign_ins
        return self._table(table).where(
            PendingSignIn, table.c.tenancy == tenancy, table.c.user == user, table.c.created_at >= since
        )

    def sign_in_of_session(self, tenancy: str, user: str, session: str) -> PendingSignIn | None:
        if not session:
            return None
        return self._table(schema.pending_sign_ins).one(PendingSignIn, tenancy=tenancy, user=user, session=session)

    def forget_sign_ins(self, before: datetime) -> None:
        table = schema.pending_sign_ins
        self._connection.execute(table.delete().where(table.c.created_at < before))

    # budgets

    def budget(self, kind: BudgetKind, mark: bytes) -> Budget | None:
        return self._table(schema.sign_in_budgets).one(Budget, kind=kind, mark=mark)

    def set_budget(self, budget: Budget) -> None:
        where = {"kind": budget.kind, "mark": budget.mark}
        table = self._table(schema.sign_in_budgets)
        if not table.update(where, spent=budget.spent, at=budget.at, until=budget.until):
            table.insert(budget)

    def delete_budget(self, kind: BudgetKind, mark: bytes) -> None:
        self._table(schema.sign_in_budgets).delete(kind=kind, mark=mark)

    def trim_budgets(self, before: datetime, keep: int) -> None:
        table = schema.sign_in_budgets
        self._connection.execute(table.delete().where(table.c.at < before))
        count = int(self._connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
        if count > keep:
            oldest = sa.select(table.c.at).order_by(table.c.at).offset(count - keep - 1).limit(1).scalar_subquery()
            self._connection.execute(table.delete().where(table.c.at <= oldest))

    # what was seen before

    def seen(self, tenancy: str, user: str) -> Sequence[Seen]:
        return self._table(schema.seen_sign_ins).all(Seen, "kind", "last_at", tenancy=tenancy, user=user)

    def see(self, seen: Seen, keep: int) -> None:
        table = self._table(schema.seen_sign_ins)
        where = {"tenancy": seen.tenancy, "user": seen.user, "kind": seen.kind}
        if table.update({**where, "mark": seen.mark}, last_at=seen.last_at):
            return
        table.insert(seen)
        held = sorted(table.all(Seen, **where), key=lambda each: (each.last_at, each.first_at, each.mark), reverse=True)
        for old in held[keep:]:
            table.delete(**where, mark=old.mark)

    def forget_seen(self, tenancy: str, user: str) -> None:
        self._table(schema.seen_sign_ins).delete(tenancy=tenancy, user=user)

    def forget_device(self, tenancy: str, user: str, mark: bytes) -> bool:
        return self._table(schema.seen_sign_ins).delete(tenancy=tenancy, user=user, kind="device", mark=mark) == 1

    def forget_user(self, tenancy: str, user: str) -> None:
        for table in (schema.factors, schema.recovery_codes, schema.pending_sign_ins, schema.seen_sign_ins):
            self._table(table).delete(tenancy=tenancy, user=user)

    # settings

    def settings(self, tenancy: str) -> SignInSettings:
        return self._table(schema.sign_in_settings).one(SignInSettings, tenancy=tenancy) or SignInSettings()

    def set_settings(self, tenancy: str, settings: SignInSettings) -> None:
        table = self._table(schema.sign_in_settings)
        if not table.update({"tenancy": tenancy}, **values(settings)):
            table.insert(settings, tenancy=tenancy)
