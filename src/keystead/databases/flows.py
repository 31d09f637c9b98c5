"""How the jobs of database systems are done, step by step (jobs/runner.py runs them).

A flow acts as the system's own principal and names the requester, whose right is checked again at each step that
touches a key (law 1). Each step is idempotent. While the system may not use its key a flow waits: the job goes on when
access returns.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from keystead.core.clock import Clock
from keystead.core.errors import Refusal
from keystead.databases.desk import principal_of, target_of
from keystead.databases.hierarchy import STEP, StoreKey
from keystead.databases.model import DbSystem, SystemState
from keystead.databases.ports import DatabaseStore, Host
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Principal
from keystead.iam.ports import ResourceIdentity
from keystead.jobs.model import Job
from keystead.jobs.runner import Canceled, Progress, Waiting
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.use.association import Associations

Handler = Callable[[Job, DbSystem, Progress], Mapping[str, str]]

PERMISSION = {
    "create": "MYSQL_INSTANCE_CREATE",
    "restore": "MYSQL_INSTANCE_CREATE",
    "start": "MYSQL_INSTANCE_START",
    "restart": "MYSQL_INSTANCE_START",
    "rotate": "MYSQL_INSTANCE_UPDATE",
    "backup": "MYSQL_BACKUP_CREATE",
}
ACCESS_LOST = frozenset({"AccessLost", "KeyNotUsable", "NotAuthorized", "NotReachableFromThere", "Unconfirmed"})


class SystemFlow:
    """Base of every flow on a database system: finds it, checks rights, maps the loss of access to waiting."""

    def __init__(
        self,
        guard: Guard,
        snapshot: Snapshot,
        store: DatabaseStore,
        associations: Associations,
        host: Host,
        clock: Clock,
        region: str,
    ) -> None:
        self.guard = guard
        self.snapshot = snapshot
        self.store = store
        self.associations = associations
        self.host = host
        self.clock = clock
        self.region = region

    def system(self, job: Job) -> DbSystem:
        """The job's system, and a snapshot as of now. Raises: Canceled when it is gone."""
        self.snapshot.refresh()
        with self.store.read() as tx:
            found = tx.databases.system(job.tenancy, job.resource)
        if found is None:
            raise Canceled
        return found

    def identity(self, job: Job, system: DbSystem) -> Caller:
        """The caller of every step: the system, on behalf of the requester."""
        return Caller(principal_of(system), request_id=job.id, source="work", requester=job.requester)

    def recheck(self, job: Job, system: DbSystem) -> None:
        """Whether the requester may still ask for this. Raises: Refusal (recorded)."""
        permission = PERMISSION.get(job.kind)
        if permission is None:
            return
        found = self.snapshot.directory.principal(job.requester)
        nobody = Principal(job.requester, "user", job.requester_name, job.tenancy, system.compartment)  # type: ignore[arg-type]  # an id as kept
        caller = Caller(found or nobody, request_id=job.id, source="work")
        kind = "mysql-backups" if permission.startswith("MYSQL_BACKUP") else "mysql-instances"
        self.guard.require(caller, permission, target_of(system, self.snapshot, kind), f"{job.kind} (job)")

    def set_state(self, system: DbSystem, state: SystemState, **changes: str) -> DbSystem:
        """Compare-and-set, repeated while only reports of the host came in between."""
        for _ in range(20):
            entry = self.guard.entry(
                Caller(principal_of(system), request_id=system.id, source="work"),
                "MYSQL_INSTANCE_UPDATE",
                target_of(system, self.snapshot),
                "SetDbSystemState",
                "succeeded",
                detail={"state": state},
            )
            with self.store.write(entry) as tx:
                current = tx.databases.system(system.tenancy, system.id)
                if current is None:
                    raise Canceled
                changed = replace(current, state=state, **changes)  # type: ignore[arg-type]  # names of text fields
                if tx.databases.change(current, changed):
                    return changed
        raise Refusal("Busy", "the system's state keeps changing", kind="conflict")

    def apply(self, step: str, system: DbSystem, progress: Progress, **arguments: str) -> Mapping[str, str]:
        """One step at the host. Raises: Waiting while the key may not be used."""
        try:
            return self.host.apply(system.id, step, progress, **arguments)  # type: ignore[arg-type]  # texts
        except Refusal as refusal:
            if refusal.code in ACCESS_LOST:
                raise Waiting(refusal.message) from refusal
            raise


class Steps(SystemFlow):
    """A flow made of methods: step `x` is the method `do_x`."""

    steps: tuple[str, ...] = ()

    def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
        handler: Handler = getattr(self, f"do_{step}")
        return handler(job, self.system(job), progress)

    def abandon(self, job: Job) -> None:
        try:
            system = self.system(job)
        except Canceled:
            return
        if system.state in ("CREATING", "UPDATING", "STARTING", "STOPPING"):
            self.set_state(system, "FAILED", reason="job_failed", reason_text=f"{job.kind} did not succeed")

    def do_start(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        self.recheck(job, system)
        return self.apply("start", system, progress)

    def do_accounts(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return self.apply("accounts", system, progress)

    def do_activate(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        access = self.associations.access(principal_of(system), system.key)
        if not access.granted:
            raise Waiting(access.text)
        self.set_state(system, "ACTIVE", reason="", reason_text="")
        return {}


class Create(Steps):
    """From nothing to ACTIVE."""

    steps = ("prepare", "start", "accounts", "activate")

    def do_prepare(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        self.recheck(job, system)
        return self.apply("prepare", system, progress)


class Start(Steps):
    steps = ("start", "activate")


class Stop(Steps):
    """A clean shutdown."""

    steps = ("stop", "deactivate")

    def do_stop(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return self.apply("stop", system, progress)

    def do_deactivate(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        self.set_state(system, "INACTIVE", reason="", reason_text="")
        return {}


class Restart(Stop):
    steps = ("restart", "activate")

    def do_restart(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        self.recheck(job, system)
        return self.apply("restart", system, progress)


class Delete(Steps):
    """Remove server, data, keys and identity."""

    steps = ("discard", "forget")

    def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
        with self.store.read() as tx:
            found = tx.databases.system(job.tenancy, job.resource)
        if found is None:  # forgotten, and killed before that was recorded
            return {}
        return super().run(step, job, progress)

    def abandon(self, job: Job) -> None:
        """What could not be deleted is shown as FAILED, and can be deleted again."""
        with suppress(Canceled):
            self.set_state(
                self.system(job), "FAILED", reason="job_failed", reason_text="it could not be deleted; delete it again"
            )

    def do_discard(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return self.host.apply(system.id, "discard", progress)

    def do_forget(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        entry = self.guard.entry(
            self.identity(job, system),
            "MYSQL_INSTANCE_DELETE",
            target_of(system, self.snapshot),
            "ForgetDbSystem",
            "succeeded",
        )
        with self.store.write(entry) as tx:
            current = tx.databases.system(system.tenancy, system.id)
            if current is None:
                return {}
            tx.databases.drop_wrapped(system.tenancy, system.id)
            tx.logins.drop(system.tenancy, system.id)
            tx.databases.change(current, replace(current, state="DELETED", reason="", reason_text=""))
            gone = ResourceIdentity(
                system.tenancy, system.id, "mysqldbsystem", system.name, system.compartment, deleted=True
            )
            tx.iam.set_identity(gone)
        return {}


class RotateDataKeys(Steps):
    """New data keys, published two numbers on, and every page rewritten under them, online."""

    steps = ("publish", "reencrypt", "activate")

    def do_publish(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        if "number" in job.result:
            return {}
        self.recheck(job, system)
        return publish(self, job, system)

    def do_reencrypt(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return self.apply("reencrypt", system, progress)


def publish(flow: SystemFlow, job: Job, system: DbSystem) -> Mapping[str, str]:
    """Make data keys with the next number, wrapped by the store key, the latest of the system's node."""
    identity = flow.identity(job, system)
    with flow.store.read() as tx:
        store_row = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
    try:
        material = flow.associations.open(identity, system.key, store_row.blob, "store-key", system.id)
    except Refusal as refusal:
        if refusal.code in ACCESS_LOST:
            raise Waiting(refusal.message) from refusal
        raise
    store_key = StoreKey(material, system.tenancy, flow.region, system.id)
    material.wipe()
    entry = flow.guard.entry(
        identity, "MYSQL_INSTANCE_UPDATE", target_of(system, flow.snapshot), "PublishDataKeys", "succeeded"
    )
    with flow.store.write(entry) as tx:
        number = tx.databases.next_number(system, STEP)
        tx.databases.unmark_latest(system.tenancy, system.id)
        for key in store_key.new_data_keys(number, system.node, flow.clock.now()):
            tx.databases.add_wrapped(system.tenancy, key)
    return {"number": str(number)}


class Verify(Steps):
    """Read the bytes on disk and report."""

    steps = ("verify",)

    def do_verify(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        with self.store.read() as tx:  # the system's own: another's, even in name, are nobody else's business
            backups = " ".join(backup.id for backup in tx.databases.backups_of(system.tenancy, system.id))
        return self.host.apply(system.id, "verify", progress, samples=job.input.get("samples", ""), backups=backups)

    def abandon(self, job: Job) -> None:
        """A report that could not be made changes nothing about the system."""
