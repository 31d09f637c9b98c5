"""What sessions need from outside: their rows, and a memory of proofs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from keystead.core.page import PageRequest
from keystead.iam.sessions.model import ApiKey, Login, Session


class SessionRows(Protocol):
    """Sessions and API keys in one transaction."""

    def begin(self, session: Session) -> None:
        """Note it down, and forget those of the same principal whose time is over."""
        ...

    def session(self, tenancy: str, session_id: str) -> Session | None: ...
    def sessions(self, tenancy: str, principal: str, now: datetime, page: PageRequest) -> Sequence[Session]:
        """Those that go on, by id; one more than asked for."""
        ...

    def bind(self, session: Session, key: str) -> bool:
        """Give a session without a key this one."""
        ...

    def refreshed(self, session: Session, at: datetime) -> bool:
        """Unless it has ended."""
        ...

    def end(self, tenancy: str, session_id: str, at: datetime) -> bool: ...
    def end_all(self, tenancy: str, principal: str, at: datetime) -> None: ...
    def add_login(self, login: Login) -> None: ...
    def login(self, login_id: str) -> Login | None: ...
    def login_by_code(self, kind: str, code: str) -> Login | None: ...
    def change_login(self, before: Login, after: Login) -> bool:
        """Compare-and-set on the state."""
        ...

    def count_logins(self) -> int: ...
    def forget_logins(self, before: datetime) -> None:
        """Those whose time is over."""
        ...

    def add_api_key(self, key: ApiKey) -> None: ...
    def api_keys(self, tenancy: str, user: str, page: PageRequest) -> Sequence[ApiKey]:
        """Those of a user, by name; one more than asked for."""
        ...

    def delete_api_keys(self, tenancy: str, user: str) -> Sequence[str]:
        """All of a user's. Their ids."""
        ...

    def delete_api_key(self, tenancy: str, user: str, key_id: str) -> bool: ...


class SeenProofs(Protocol):
    """The proofs that were taken already, over all workers of a machine."""

    def first(self, mark: bytes, until: float) -> bool:
        """Whether this is the first time that `mark` (32 bytes) comes, remembered `until` then (seconds, as `now`).

        False also when so many are remembered that there is no room: what cannot be remembered is not taken.
        """
        ...
