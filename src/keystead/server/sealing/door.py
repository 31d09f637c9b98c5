"""The seal as the HTTP faces see it: it asks the first process of the region (warden.py), and records what was done."""

from pathlib import Path
from typing import Any, NoReturn

from keystead.adapters.sql.store import SqlStore
from keystead.audit.model import Entry
from keystead.audit.service import AuditLog
from keystead.core.clock import Clock
from keystead.core.ids import new_id
from keystead.core.secret import Secret
from keystead.iam.guard import Guard
from keystead.iam.model import Caller
from keystead.server.sealing import warden
from keystead.vault.networks import is_private
from keystead.web.refusals import sealed

PERMISSION = "STATE_SEAL"


class SealDoor:
    """The seal of the region that these processes serve."""

    def __init__(self, runtime: Path, log: AuditLog, clock: Clock, region: str) -> None:
        self._runtime = runtime
        self._log = log
        self._clock = clock
        self._region = region

    def status(self) -> dict[str, object]:
        """How it stands. Raises: Unavailable."""
        return warden.ask(self._runtime, do="status")

    def give(self, kind: str, secret: Secret, source: str, request_id: str) -> dict[str, object]:
        """Something that opens it. What was refused is recorded where refusals are. Raises: Refusal, Unavailable."""
        found = warden.ask(
            self._runtime, do="give", kind=kind, secret=secret.reveal().decode(), near=is_private(source)
        )
        told = "it is open" if not found["sealed"] else _told(found)
        self._record("Unseal", f"{kind} given: {told}", source, request_id)
        return found

    def reset(self, source: str, request_id: str) -> dict[str, object]:
        """Forget the shares given so far. Raises: Unavailable."""
        found = warden.ask(self._runtime, do="reset", near=is_private(source))
        self._record("ResetUnseal", "the shares given so far are forgotten", source, request_id)
        return found

    def seal(self, _caller: Caller) -> dict[str, object]:
        """It is sealed already. Raises: Refusal."""
        raise sealed()

    def _record(self, operation: str, reason: str, source: str, request_id: str) -> None:
        """Nobody has signed in: a region that is sealed knows nobody."""
        entry = Entry(
            id=new_id("entry", self._region),
            at=self._clock.now(),
            tenancy="",
            compartment="",
            principal_id="",
            principal_type="",
            principal_name="",
            requester="",
            token_id="",
            source=source,
            request_id=request_id,
            action="",
            operation=operation,
            resource_type="seal",
            resource_id=self._region,
            resource_name=self._region,
            outcome="succeeded",
            reason=reason,
        )
        self._log.append(entry)


class OpenSealDoor(SealDoor):
    """The same while the region is open: it can be sealed."""

    def __init__(self, runtime: Path, guard: Guard, store: SqlStore, log: AuditLog, clock: Clock, region: str) -> None:
        super().__init__(runtime, log, clock, region)
        self._guard = guard
        self._store = store

    def seal(self, caller: Caller) -> dict[str, object]:
        """Seal it. Committed before it is done: nothing that was answered goes without its entry.

        Raises:
            Refusal: not permitted; recorded.
            Unavailable: the first process does not answer: nothing is sealed.
        """
        entry = self._guard.permit_change(caller, PERMISSION, self._guard.region_itself(), "SealRegion")
        with self._store.write(entry):
            pass
        return warden.ask(self._runtime, do="seal", by=caller.principal.name)


class Closed:
    """In the place of every service that needs the root key, while there is none."""

    def __getattr__(self, name: str) -> NoReturn:
        raise sealed() if not name.startswith("__") else AttributeError(name)


def _told(found: dict[str, Any]) -> str:
    return "; ".join(
        f"{len(each['given'])} of {each['threshold']} shares of set {each['set']}" for each in found["progress"]
    )
