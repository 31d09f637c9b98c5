"""The desk where machines ask: what is to run, whether its key may be used, and the keys themselves.

Only the `host` service calls here. A watch tells it about the systems of its own machine; access is judged for each
system's own principal. Positive answers are the lease by which `host` goes on (law 7); a change of the answer is
recorded once, not each time it is given.

A system without access stands for nobody in the region either, from the moment on from which it has none; and what was
issued to it before its machine fenced it stays void, so that after its next start only a new token holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal, Protocol

from keystead.audit.model import Outcome
from keystead.core.clock import Clock
from keystead.core.errors import Fault, Refusal, not_found, required
from keystead.core.ids import CompartmentId
from keystead.databases.logins.model import LoginMapping
from keystead.databases.model import DbSystem, FenceReceipt, SystemState, WrappedKey
from keystead.databases.ports import DatabaseStore
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Principal, Target
from keystead.iam.policy.variables import tag_attributes
from keystead.iam.ports import Revocation
from keystead.vault.memory.keyring import Waits
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.use.association import Access, Associations

Event = Literal["running", "stopped", "fenced", "failed"]
UNANSWERED: Final = "keystore_unreachable"


@dataclass(frozen=True, slots=True)
class SystemView:
    """One system as its machine needs to know it. Keys only wrapped.

    `unanswered`: nobody said no, but the token or KMS that holds its key does not answer: as if the vault did not.
    `void_until`: tokens that were issued to the system up to then hold no more.
    """

    system: DbSystem
    admin_password_hash: str
    store_key: WrappedKey | None
    data_keys: Sequence[WrappedKey]
    granted: bool
    loss: str
    text: str
    since: datetime | None
    unanswered: bool = False
    logins: Sequence[LoginMapping] = ()
    void_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class HostView:
    """Everything a machine is to run, as of a generation."""

    generation: int
    region: str
    systems: Sequence[SystemView]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a node needs to start: secrets, for `host` alone. PEM texts; the TLS key is PKCS#8."""

    store_key: bytes = field(repr=False)
    tls_key: bytes = field(repr=False)
    tls_certificate: bytes = b""
    authority: bytes = b""


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A session token that a machine got for one of its systems, and for how many more seconds it is good."""

    token: str = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a machine saw or did. `receipt` comes with `fenced`."""

    system: str
    event: Event
    reason: str = ""
    text: str = ""
    receipt: FenceReceipt | None = None


class Certificates(Protocol):
    """Issues TLS certificates of the region's own CA."""

    @property
    def authority(self) -> bytes:
        """The CA's certificate, PEM."""
        ...

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A private key (PKCS#8 PEM) and a server certificate (PEM) for a node of that name on this machine."""
        ...


class HostDesk:
    """Answers the `host` service."""

    def __init__(
        self,
        guard: Guard,
        snapshot: Snapshot,
        store: DatabaseStore,
        associations: Associations,
        certificates: Certificates,
        clock: Clock,
        region: str,
    ) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._store = store
        self._associations = associations
        self._certificates = certificates
        self._clock = clock
        self._region = region
        self._answered: dict[str, Access] = {}
        self._known: tuple[int, dict[str, DbSystem | None]] = 0, {}  # as of a generation
        self._keys: dict[str, str] = {}  # of the systems that were last watched

    def watch(self, caller: Caller) -> HostView:
        """What the caller's machine is to run, and for which systems access stands."""
        machine = caller.principal.id
        self._guard.require(caller, "HOST_WATCH", self._at_machine(caller), "Watch")
        generation = self._snapshot.refresh()
        with self._store.read() as tx:
            found = [
                (
                    system,
                    tx.databases.password_hash(system),
                    tx.databases.wrapped(system.tenancy, system.id),
                    tx.logins.mappings(system.tenancy, system.id),
                )
                for system in tx.databases.on_machine(machine)
            ]
        self._keys = {system.id: system.key for system, *_ in found}
        views = [
            replace(
                self._view(caller, system, hashed, wrapped),
                logins=logins,
                void_until=self._snapshot.directory.void_until(system.id),
            )
            for system, hashed, wrapped, logins in found
        ]
        return HostView(generation, self._region, views)

    def store_key_waits(self, system_id: str) -> Waits:
        """For which keystore it may have to wait; empty: for none, or nothing is known of such a system."""
        entry = self._snapshot.keyring.get(self._keys.get(system_id, ""))
        return entry.waits if entry is not None else ""

    def open_store_key(self, caller: Caller, system_id: str) -> Opened:
        """The store key of a system of the caller's machine, opened as that system's own principal.

        Raises:
            Refusal: not this machine's, or the system may not use its key.
        """
        system, wrapped = self._own(caller, system_id)
        target = self._at(system)
        self._guard.require(caller, "HOST_WATCH", target, "OpenStoreKey")
        store_key = required(next((key for key in wrapped if key.kind == "store"), None), "store key")
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        if not system.confirmed:
            self._guard.refuse(identity, "KEY_ASSOCIATE", target, "OpenStoreKey", unconfirmed(system))
        material = self._associations.open(identity, system.key, store_key.blob, "store-key", system.id)
        tls_key, tls_certificate = self._certificates.issue(system.name)
        opened = Opened(material.reveal(), tls_key, tls_certificate, self._certificates.authority)
        material.wipe()
        return opened

    def report(self, caller: Caller, report: Report) -> None:
        """Take over what a machine says about one of its systems."""
        system, _ = self._own(caller, report.system)
        detail: dict[str, str] = {"event": report.event}
        if report.receipt is not None:
            detail |= {name: f"{at:.1f} ms" for name, at in report.receipt.steps}
        entry = self._guard.permit_change(caller, "HOST_REPORT", self._at(system), "ReportNode", detail)
        entry = entry._replace(outcome="succeeded", reason=report.text)
        fenced = report.event == "fenced"
        with self._store.write(entry, reserve=fenced) as tx:
            if fenced:
                tx.iam.revoke(Revocation(system.tenancy, system.id, self._clock.now()))
            current = tx.databases.system(system.tenancy, system.id)
            if current is None:
                return
            changed = after_report(current, report)
            if changed is not None:
                tx.databases.change(current, changed)
            if report.receipt is not None:
                tx.databases.add_receipt(system.tenancy, report.receipt)

    def stands(self, principal: Principal) -> bool:
        """Whether a resource may act as itself now: a database system not while it may not use its key, fenced yet or
        not. Raises: Unavailable.
        """
        if principal.type != "mysqldbsystem":
            return True
        generation = self._snapshot.refresh()
        if generation != self._known[0]:
            self._known = generation, {}
        known = self._known[1]
        if principal.id not in known:
            with self._store.read() as tx:
                known[principal.id] = tx.databases.system(principal.tenancy, principal.id)
        system = known[principal.id]
        if system is None:
            return False
        access = self._access(system)
        return access.granted or access.loss == UNANSWERED

    def _view(self, caller: Caller, system: DbSystem, hashed: str, wrapped: Sequence[WrappedKey]) -> SystemView:
        access = self._told(caller, system, self._access(system))
        store_key = next((key for key in wrapped if key.kind == "store"), None)
        data_keys = [key for key in wrapped if key.kind == "data"]
        unanswered = access.loss == UNANSWERED
        granted, loss = access.granted or unanswered, access.loss or ""
        return SystemView(system, hashed, store_key, data_keys, granted, loss, access.text, access.since, unanswered)

    def _told(self, caller: Caller, system: DbSystem, access: Access) -> Access:
        """What the machine is told: a change of the answer is recorded, and where it cannot be, only a no is given."""
        before = self._answered.get(system.id)
        if before is not None and (before.granted, before.loss) != (access.granted, access.loss):
            as_system = replace(caller, principal=principal_of(system), requester=caller.principal.id)
            outcome: Outcome = "allowed" if access.granted else "refused"
            try:
                self._guard.record(
                    as_system,
                    "KEY_ASSOCIATE",
                    self._at(system),
                    "RenewLease",
                    outcome,
                    access.text,
                    reserve=not access.granted,
                )
            except Fault:  # tried again with the next watch
                return before if access.granted else access
        self._answered[system.id] = access
        return access

    def _access(self, system: DbSystem) -> Access:
        if not system.confirmed:
            return Access(False, "unconfirmed", unconfirmed(system).message)
        return self._associations.access(principal_of(system), system.key, system.key_version)

    def _own(self, caller: Caller, system_id: str) -> tuple[DbSystem, Sequence[WrappedKey]]:
        """A system of the calling machine; others look absent."""
        with self._store.read() as tx:
            for system in tx.databases.on_machine(caller.principal.id):
                if system.id == system_id:
                    return system, tx.databases.wrapped(system.tenancy, system.id)
        raise not_found("database system")

    def _at(self, system: DbSystem) -> Target:
        return target_of(system, self._snapshot)

    def _at_machine(self, caller: Caller) -> Target:
        return Target("machines", caller.principal.id, "machine", caller.principal.tenancy, ())


def principal_of(system: DbSystem) -> Principal:
    """A database system's own identity."""
    return Principal(
        system.id,  # type: ignore[arg-type]  # a resource's id is its principal id
        "mysqldbsystem",
        system.name,
        system.tenancy,
        system.compartment,
        system.tags,
    )


def unconfirmed(system: DbSystem) -> Refusal:
    """After a restore of the region's state nothing opens until somebody says that this state is the right one."""
    return Refusal(
        "Unconfirmed",
        f"the region's state was restored: database system {system.name!r} stays fenced until it is confirmed",
        hint=f"keystead db confirm {system.name}",
        kind="conflict",
    )


def target_of(system: DbSystem, snapshot: Snapshot, kind: str = "mysql-instances") -> Target:
    """A database system as the Guard sees it."""
    place = snapshot.directory.compartment(system.tenancy, system.compartment)
    path = place.path if place is not None else (CompartmentId(system.compartment),)
    attributes = tag_attributes(system.tags) if kind == "mysql-instances" else {}
    return Target(kind, system.id, system.name, system.tenancy, path, attributes)


def after_report(system: DbSystem, report: Report) -> DbSystem | None:
    """What a report makes of a system's state; None when nothing changes (pure).

    A fence shows as INACCESSIBLE wherever the system was up or on its way; one that is being created keeps that state,
    because its job goes on when access returns. Deleting is final.
    """
    state: SystemState = system.state
    reason, text = report.reason, report.text
    match report.event:
        case "fenced":
            if state in ("ACTIVE", "UPDATING", "STARTING", "FAILED"):
                state = "INACCESSIBLE"
        case "running":
            reason, text = "", ""
            if state in ("INACCESSIBLE", "STARTING", "FAILED") and system.desired == "running":
                state = "ACTIVE"
        case "stopped":
            reason, text = "", ""
            if system.desired == "stopped" and state in ("STOPPING", "INACCESSIBLE", "ACTIVE"):
                state = "INACTIVE"
        case "failed":
            if state in ("ACTIVE", "UPDATING", "STARTING"):
                state = "FAILED"
    if state in ("DELETING", "DELETED") or (state, reason, text) == (system.state, system.reason, system.reason_text):
        return None
    return replace(system, state=state, reason=reason, reason_text=text)
