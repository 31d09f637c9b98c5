"""Rows of break glass and approvals. Rules are read by the hot path, so they carry a generation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from keystead.adapters.sql import schema as base
from keystead.adapters.sql import schema_approvals as schema
from keystead.adapters.sql.rows import Table, read, values
from keystead.core.page import PageRequest
from keystead.iam.approvals.model import Approval, BreakGlass, How, Rule, Stored, Term, Vote


class SqlApprovalRows:
    """`ApprovalRows` on a connection."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._generation = generation
        self._rules = Table(connection, schema.approval_rules)
        self._approvals = Table(connection, schema.approvals)
        self._votes = Table(connection, schema.approval_votes)
        self._break_glass = Table(connection, schema.break_glass)

    def add_break_glass(self, begun: BreakGlass) -> None:
        self._break_glass.insert(begun)

    def break_glass(self, tenancy: str, break_glass_id: str) -> BreakGlass | None:
        return self._break_glass.one(BreakGlass, tenancy=tenancy, id=break_glass_id)

    def break_glasses(self, tenancy: str, group: str | None, page: PageRequest) -> Sequence[BreakGlass]:
        columns = schema.break_glass.c
        query = sa.select(schema.break_glass).where(columns.tenancy == tenancy)
        if group is not None:
            query = query.where(columns.group_id == group)
        rows = self._connection.execute(newest(query, columns.began_at, columns.id, page)).mappings()
        return [read(BreakGlass, dict(row)) for row in rows]

    def open_break_glass(self, tenancy: str, group: str, user: str) -> BreakGlass | None:
        found = self._break_glass.all(
            BreakGlass, "expires_at", tenancy=tenancy, group_id=group, user_id=user, ended_at=None
        )
        return found[-1] if found else None

    def due_break_glasses(self, now: datetime) -> Sequence[BreakGlass]:
        columns = schema.break_glass.c
        return self._break_glass.where(BreakGlass, columns.ended_at.is_(None), columns.expires_at <= now)

    def end_break_glass(self, found: BreakGlass, at: datetime, by: str, how: How) -> bool:
        where = {"tenancy": found.tenancy, "id": found.id, "ended_at": None}
        return self._break_glass.update(where, ended_at=at, ended_by=by, how=how) == 1

    def add_rule(self, rule: Rule) -> None:
        self._rules.insert(rule, deleted=False, generation=self._generation)

    def rule(self, tenancy: str, rule_id: str) -> Rule | None:
        return self._rules.one(Rule, tenancy=tenancy, id=rule_id, deleted=False)

    def rules(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Rule]:
        return self._rules.page(Rule, page, tenancy=tenancy, compartment=compartment, name=name or ..., deleted=False)

    def set_rule(self, rule: Rule, expected: int, *, deleted: bool = False) -> bool:
        where = {"tenancy": rule.tenancy, "id": rule.id, "version": expected, "deleted": False}
        changes = values(rule, deleted=deleted, generation=self._generation)
        return (
            self._rules.update(where, **{name: changes[name] for name in changes if name not in ("tenancy", "id")}) == 1
        )

    def approvers(self, tenancy: str, group: str) -> Sequence[tuple[str, str]]:
        users, memberships, groups = base.users.c, base.memberships.c, base.groups.c
        query = (
            sa.select(users.id, users.name)
            .select_from(base.memberships)
            .join(base.users, sa.and_(users.tenancy == memberships.tenancy, users.id == memberships.user_id))
            .join(base.groups, sa.and_(groups.tenancy == memberships.tenancy, groups.id == memberships.group_id))
            .where(
                memberships.tenancy == tenancy,
                memberships.group_id == group,
                memberships.deleted.is_(False),
                memberships.expires_at.is_(None),
                users.state == "ACTIVE",
                groups.deleted.is_(False),
            )
            .order_by(users.name)
        )
        return [(row.id, row.name) for row in self._connection.execute(query)]

    def version_of(self, tenancy: str, kind: str, thing: str) -> int:
        table = _VERSIONED.get(kind)
        if table is None:
            return 0
        query = sa.select(table.c.version).where(table.c.tenancy == tenancy, table.c.id == thing)
        return int(self._connection.execute(query).scalar() or 0)

    def add_approval(self, approval: Approval) -> None:
        terms = [{**values(term), "members": list(term.members)} for term in approval.terms]
        self._connection.execute(schema.approvals.insert().values(**values(approval) | {"terms": terms}))

    def approval(self, tenancy: str, approval_id: str) -> Approval | None:
        columns = schema.approvals.c
        found = self._found(sa.select(schema.approvals).where(columns.tenancy == tenancy, columns.id == approval_id))
        return found[0] if found else None

    def approvals(self, tenancy: str, requester: str | None, page: PageRequest) -> Sequence[Approval]:
        columns = schema.approvals.c
        query = sa.select(schema.approvals).where(columns.tenancy == tenancy)
        if requester is not None:
            query = query.where(columns.requester == requester)
        return self._found(newest(query, columns.created_at, columns.id, page))

    def waiting(self, tenancy: str, requester: str, now: datetime) -> Sequence[Approval]:
        columns = schema.approvals.c
        query = sa.select(schema.approvals).where(
            columns.tenancy == tenancy,
            columns.requester == requester,
            columns.state == "PENDING",
            columns.expires_at > now,
        )
        return self._found(query)

    def set_state(self, approval: Approval, state: Stored, at: datetime, used_by: str = "") -> bool:
        where = {"tenancy": approval.tenancy, "id": approval.id, "state": "PENDING"}
        changes = {"state": state, "ended_at": at, "used_by": used_by, "version": approval.version + 1}
        return self._approvals.update(where, **changes) == 1

    def add_vote(self, approval: Approval, vote: Vote) -> None:
        self._votes.insert(vote, tenancy=approval.tenancy, approval=approval.id)

    def votes(self, approval: Approval) -> Sequence[Vote]:
        return self._votes.all(Vote, "at", "user_id", tenancy=approval.tenancy, approval=approval.id)

    def _found(self, query: Any) -> list[Approval]:
        return [_approval(dict(row)) for row in self._connection.execute(query).mappings()]


# What has a version, by its resource type.
_VERSIONED = {
    "keys": base.keys,
    "vaults": base.vaults,
    "policies": base.policies,
    "groups": base.groups,
    "compartments": base.compartments,
    "users": base.users,
    "approval-rules": schema.approval_rules,
    "mysql-instances": base.db_systems,
    "mysql-backups": base.backups,
}


def _approval(row: dict[str, Any]) -> Approval:
    terms = tuple(Term(**{**term, "members": tuple(term["members"])}) for term in row["terms"])
    return read(Approval, row | {"terms": terms})


def newest(query: sa.Select[Any], at: sa.ColumnElement[Any], key: sa.ColumnElement[Any], page: PageRequest) -> Any:
    """The page of a query, newest first; the cursor is `<moment> <id>`."""
    if page.after is not None:
        moment, _, last = page.after.partition(" ")
        query = query.where(sa.tuple_(at, key) < sa.tuple_(sa.literal(moment), sa.literal(last)))
    return query.order_by(at.desc(), key.desc()).limit(page.limit + 1)
