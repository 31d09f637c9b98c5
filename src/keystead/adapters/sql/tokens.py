"""Rows of sessions and API keys."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from keystead.adapters.sql.rows import Table, values
from keystead.adapters.sql.schema_tokens import api_keys, login_grants, sessions, signing_keys
from keystead.core.page import PageRequest
from keystead.iam.sessions.model import ApiKey, Login, Session, TokenKey


class SqlSessionRows:
    """`SessionRows` on a connection. The hot path reads API keys alone; `generation` is that of the transaction."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._generation = generation
        self._sessions = Table(connection, sessions)
        self._logins = Table(connection, login_grants)
        self._keys = Table(connection, api_keys)
        self._token_keys = Table(connection, signing_keys)

    def begin(self, session: Session) -> None:
        self._connection.execute(
            sessions.delete().where(
                sessions.c.tenancy == session.tenancy,
                sessions.c.principal == session.principal,
                sessions.c.limit_at < session.created_at,
            )
        )
        self._sessions.insert(session)

    def session(self, tenancy: str, session_id: str) -> Session | None:
        return self._sessions.one(Session, tenancy=tenancy, id=session_id)

    def sessions(self, tenancy: str, principal: str, now: datetime, page: PageRequest) -> Sequence[Session]:
        conditions = [
            sessions.c.tenancy == tenancy,
            sessions.c.principal == principal,
            sessions.c.ended_at.is_(None),
            sessions.c.limit_at > now,
        ]
        if page.after is not None:
            conditions.append(sessions.c.id > page.after)
        found = self._sessions.where(Session, *conditions)
        return sorted(found, key=lambda item: item.id)[: page.limit + 1]

    def bind(self, session: Session, key: str) -> bool:
        where = {"tenancy": session.tenancy, "id": session.id, "key": "", "ended_at": None}
        return self._sessions.update(where, key=key) == 1

    def refreshed(self, session: Session, at: datetime) -> bool:
        where = {"tenancy": session.tenancy, "id": session.id, "ended_at": None}
        return self._sessions.update(where, refreshed_at=at) == 1

    def end(self, tenancy: str, session_id: str, at: datetime) -> bool:
        return self._sessions.update({"tenancy": tenancy, "id": session_id, "ended_at": None}, ended_at=at) == 1

    def end_all(self, tenancy: str, principal: str, at: datetime) -> None:
        self._sessions.update({"tenancy": tenancy, "principal": principal, "ended_at": None}, ended_at=at)

    def add_login(self, login: Login) -> None:
        self._logins.insert(login)

    def login(self, login_id: str) -> Login | None:
        return self._logins.one(Login, id=login_id)

    def login_by_code(self, kind: str, code: str) -> Login | None:
        return self._logins.one(Login, kind=kind, code=code)

    def change_login(self, before: Login, after: Login) -> bool:
        changes = {name: value for name, value in values(after).items() if name != "id"}
        return self._logins.update({"id": before.id, "state": before.state}, **changes) == 1

    def count_logins(self) -> int:
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(login_grants)).scalar_one())

    def forget_logins(self, before: datetime) -> None:
        self._connection.execute(login_grants.delete().where(login_grants.c.expires_at < before))

    def add_api_key(self, key: ApiKey) -> None:
        self._keys.insert(key, deleted=False, generation=self._generation)

    def api_keys(self, tenancy: str, user: str, page: PageRequest) -> Sequence[ApiKey]:
        return self._keys.page(ApiKey, page, tenancy=tenancy, user=user, deleted=False)

    def delete_api_key(self, tenancy: str, user: str, key_id: str) -> bool:
        where = {"tenancy": tenancy, "user": user, "id": key_id, "deleted": False}
        return self._keys.update(where, deleted=True, generation=self._generation) == 1

    def delete_api_keys(self, tenancy: str, user: str) -> Sequence[str]:
        """All of a user's. Their ids."""
        found = self._keys.all(ApiKey, "id", tenancy=tenancy, user=user, deleted=False)
        where = {"tenancy": tenancy, "user": user, "deleted": False}
        self._keys.update(where, deleted=True, generation=self._generation)
        return [each.id for each in found]

    def token_keys(self) -> Sequence[TokenKey]:
        return self._token_keys.where(TokenKey)

    def add_token_key(self, key: TokenKey) -> None:
        self._token_keys.insert(key)

    def retire_token_key(self, key_id: str, public: bytes, at: datetime) -> None:
        self._token_keys.update({"id": key_id}, wrapped=public, retired_at=at)

    def delete_token_key(self, key_id: str) -> None:
        self._connection.execute(signing_keys.delete().where(signing_keys.c.id == key_id))
