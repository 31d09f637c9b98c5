"""What the HTTP faces are joined to: the services, and the few ports of the web's own.

`server/wiring.py` builds one `Services` per worker. Handlers see nothing else of the region.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keystead.core.clock import Clock
from keystead.core.errors import Unavailable
from keystead.core.secret import Secret
from keystead.iam.model import Caller, Granted

if TYPE_CHECKING:
    from keystead.audit.service import AuditLog
    from keystead.databases.desk import HostDesk
    from keystead.databases.logins.desk import LoginDesk
    from keystead.databases.service import Databases
    from keystead.iam.federation.login import Federation
    from keystead.iam.federation.provisioning import Provisioning
    from keystead.iam.insight.service import Insight
    from keystead.iam.service import Iam
    from keystead.iam.sessions.ports import SeenProofs
    from keystead.jobs.service import Jobs
    from keystead.vault.service import Vaults
    from keystead.web.idempotency import IdempotencyStore
    from keystead.web.ports import AuditTrail, StateEvents


class StateKeeper(Protocol):
    """Backup of the region's own state."""

    def backup(self, caller: Caller, /) -> Iterator[bytes]:
        """An encrypted stream. Permission is decided before the first chunk is asked for or with it."""
        ...


class SealKeeper(Protocol):
    """The seal of the region. What it answers is a `SealReply` without the region's name."""

    def status(self) -> dict[str, object]:
        """How it stands. Raises: Unavailable."""
        ...

    def give(self, kind: str, secret: Secret, source: str, request_id: str, /) -> dict[str, object]:
        """Something that opens it, or helps to. Recorded. Raises: Refusal, Unavailable."""
        ...

    def reset(self, source: str, request_id: str, /) -> dict[str, object]:
        """Forget the shares given so far. Recorded. Raises: Refusal, Unavailable."""
        ...

    def seal(self, caller: Caller, /) -> dict[str, object]:
        """Seal it, until it is unsealed. Recorded. Raises: Refusal, Unavailable."""
        ...


def _nothing_again(caller: Caller, _granted: Iterable[Granted]) -> None:
    raise Unavailable("NoGuard", f"nobody can say whether {caller.principal.name} may have this answer again")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the handlers and the pipeline call.

    `generation` is the region's generation as last committed (cheap: asked every few milliseconds while a long poll
    waits and something is being written). `events` opens what tells of writing (None: nothing does). `sealed` says
    whether the region's root key is closed, or ordered to be (asked at every request: it costs nothing). `seen` is the
    memory of proofs, `names` are those the region is reached by (empty: any; for tests). `require_again` decides anew
    what was allowed for an answer that is given again.
    """

    iam: "Iam"
    federation: "Federation"
    insight: "Insight"
    provisioning: "Provisioning"
    vaults: "Vaults"
    databases: "Databases"
    jobs: "Jobs"
    audit_trail: "AuditTrail"
    state: StateKeeper
    host_desk: "HostDesk"
    login_desk: "LoginDesk"
    idempotency: "IdempotencyStore"
    log: "AuditLog"
    clock: Clock
    region: str
    version: str
    generation: Callable[[], int]
    sealed: Callable[[], bool]
    seal: SealKeeper
    seen: "SeenProofs"
    events: "Callable[[], StateEvents | None]" = lambda: None
    names: frozenset[str] = frozenset()
    require_again: Callable[[Caller, Iterable[Granted]], None] = _nothing_again
