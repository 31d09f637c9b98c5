"""A region in one process: real services on a real SQLite file; the audit journal is a list, the clock stands still."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from tests.fakes.factors import proofs
from tests.fakes.inventory import EntryTrail, MemoryBackups
from tests.fakes.oidc import FakeProvider

from keystead.adapters.jose import JoseCodec
from keystead.adapters.sql import schema
from keystead.adapters.sql.engine import sqlite_engine
from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.adapters.sql.resources import SqlResources
from keystead.adapters.sql.store import SqlStore
from keystead.audit.model import Entry
from keystead.audit.service import AuditLog
from keystead.core.clock import ManualClock
from keystead.core.errors import Fault
from keystead.core.ids import CompartmentId, MachineId, PolicyId, TenancyId, UserId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.databases.dependants import DatabaseDependants
from keystead.databases.desk import HostDesk
from keystead.databases.logins.desk import LoginDesk
from keystead.databases.placement import Placement
from keystead.databases.service import Databases
from keystead.iam.approvals.gate import ApprovalGate
from keystead.iam.directory import Directory
from keystead.iam.federation.login import Federation
from keystead.iam.federation.provisioning import Provisioning
from keystead.iam.guard import Guard
from keystead.iam.insight.service import Insight
from keystead.iam.model import Caller, Compartment, Group, Policy, Principal, Target, Tenancy, User
from keystead.iam.ports import Machine, Membership
from keystead.iam.service import Iam
from keystead.iam.sessions.service import StoreBook
from keystead.iam.tokens import Tokens
from keystead.jobs.service import Jobs
from keystead.server.token_keys import TokenKeys
from keystead.vault.memory.keyring import Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.service import Vaults
from keystead.vault.use.association import Associations

REGION = "home"
_PAGE = PageRequest(1000)
PASSWORD = b"correct horse battery staple"


class DoneReceipt:
    """Durable already."""

    done = True

    def wait(self, timeout: float | None = None) -> None:
        return None

    def add_done_callback(self, call: Callable[[Fault | None], None], /) -> None:
        call(None)


class ListJournal:
    """Keeps entries in a list; refuses when `broken`."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.broken = False

    def append(self, entry: Entry, reserve: bool = False, /) -> DoneReceipt:
        if self.broken and not reserve:
            raise Fault("AuditUnavailable", "the audit log cannot be written")
        self.entries.append(entry)
        return DoneReceipt()

    def barrier(self) -> DoneReceipt:
        return DoneReceipt()


class PlainHasher:
    """Stands in for Argon2id where its cost would only slow the tests."""

    def hash(self, password: Secret) -> str:
        return "plain:" + password.reveal().decode()

    def verify(self, encoded: str, password: Secret) -> bool:
        return encoded == "plain:" + password.reveal().decode()

    def decoy(self, password: Secret) -> bool:
        return False


class NoCertificates:
    authority = b"authority"

    def issue(self, name: str) -> tuple[bytes, bytes]:
        return b"key of " + name.encode(), b"certificate"


@dataclass
class DomainRegion:
    """Everything a test of the domain may want to hold."""

    clock: ManualClock
    journal: ListJournal
    store: SqlStore
    snapshot: Snapshot
    guard: Guard
    iam: Iam
    federation: Federation
    provisioning: Provisioning
    tokens: Tokens
    vaults: Vaults
    associations: Associations
    databases: Databases
    desk: HostDesk
    logins: LoginDesk
    jobs: Jobs
    insight: Insight
    machine: MachineId
    tenancy: TenancyId
    admin: Caller
    path: Path
    files: MemoryBackups = field(default_factory=MemoryBackups)

    def again(self) -> "DomainRegion":
        """Another process on the same state."""
        return open_region(self.path.parent, self.clock, self.machine, self.tenancy, self.admin)

    def copy(self, directory: Path) -> "DomainRegion":
        """The same state in another directory, with a clock of its own that shows the same time."""
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(directory / "state.db")) as target:
            target.execute("PRAGMA synchronous=OFF")
            source.backup(target)
        return open_region(directory, copy(self.clock), self.machine, self.tenancy, self.admin)

    def new_tenancy(self, name: str) -> Caller:
        """A tenancy with an administrator; returns that caller."""
        return _tenancy(self.store, self.guard, self.clock, name)[1]

    def user(self, name: str, *groups: str) -> Caller:
        """A user in the given groups (made when missing), as a caller."""
        user, _ = self.iam.create_user(self.admin, name)
        for group_name in groups:
            found = self.iam.list_groups(self.admin, _PAGE, group_name).items
            group = found[0] if found else self.iam.create_group(self.admin, group_name)
            self.iam.add_member(self.admin, group.id, user.id)
        return caller_of(user)

    def host(self) -> Caller:
        """The `host` service of the region's machine."""
        return Caller(Principal(self.machine, "service", "host", TenancyId(""), CompartmentId("")), "r", "unix")  # type: ignore[arg-type]

    def allow(self, *statements: str, name: str | None = None) -> Policy:
        """A policy at the root of the tenancy."""
        self._policies = getattr(self, "_policies", 0) + 1
        return self.iam.create_policy(self.admin, self.tenancy, name or f"policy-{self._policies}", statements)

    def entries(self) -> list[Entry]:
        """Everything recorded so far, of both kinds."""
        return [entry for _, entry in self.store.outbox(0, 100_000)] + self.journal.entries


def caller_of(user: User) -> Caller:
    return Caller(
        Principal(user.id, "user", user.name, user.tenancy, CompartmentId(user.tenancy)), "request", "127.0.0.1"
    )  # type: ignore[arg-type]


def make_region(directory: Path) -> DomainRegion:
    """A fresh region in `directory`."""
    clock = ManualClock()
    path = directory / "state.db"
    engine = _engine(path)
    schema.metadata.create_all(engine)
    with engine.begin() as connection:
        row = {"name": REGION, "generation": 1, "created_at": clock.now(), "changed_at": clock.now()}
        connection.execute(schema.region.insert().values(**row, rollback_accepted=False))
    store = SqlStore(engine, clock)
    guard = Guard(Directory(), lambda: 0, AuditLog(ListJournal()), clock, REGION)
    machine = MachineId(new_id("machine", REGION))
    tenancy, admin = _tenancy(store, guard, clock, "acme")
    with store.write(_entry(guard, admin)) as tx:
        tx.iam.add_machine(Machine(machine, "here", bytes(32), deleted=False))
    engine.dispose()
    return open_region(directory, clock, machine, tenancy, admin)


def open_region(
    directory: Path, clock: ManualClock, machine: MachineId, tenancy: TenancyId, admin: Caller
) -> DomainRegion:
    """The region in `directory`, in (so to speak) another process: it shares the file and nothing else."""
    journal = ListJournal()
    path = directory / "state.db"
    engine = _engine(path)
    store = SqlStore(engine, clock)
    directory_ = Directory(clock)
    snapshot = Snapshot(directory_, Keyring(Secret(bytes(range(32))), directory_, REGION), SqliteFreshness(path))
    log = AuditLog(journal)
    guard = Guard(directory_, snapshot.refresh, log, clock, REGION)
    guard.gated_by(ApprovalGate(directory_, store, log, clock, REGION))
    snapshot.refresh()
    keys = TokenKeys(store, Secret(bytes(32)), clock, REGION, SqliteFreshness(path).generation)
    tokens = Tokens(JoseCodec(keys), directory_, snapshot.refresh, clock, REGION, StoreBook(store))
    iam = Iam(guard, directory_, store, tokens, PlainHasher(), log, clock, REGION, proofs())
    federation = Federation(
        guard, directory_, store, iam, PlainHasher(), clock, REGION, FakeProvider(clock), Secret(bytes(32)),
        "https://keys.example",
    )  # fmt: skip
    provisioning = Provisioning(guard, store, PlainHasher(), clock, REGION)
    files = MemoryBackups()
    vaults = Vaults(
        guard,
        snapshot,
        store,
        clock,
        REGION,
        DatabaseDependants(files),
        EntryTrail(partial(_entries, store, journal)),
    )
    associations = Associations(guard, snapshot, vaults, clock, REGION)
    placement = Placement(machine, "127.0.0.1", range(23300, 23400), range(61000, 61100))
    databases = Databases(guard, snapshot, store, vaults, associations, placement, b"PEM", clock, REGION)
    desk = HostDesk(guard, snapshot, store, associations, NoCertificates(), clock, REGION)
    tokens.judge_resources(desk.stands)
    logins = LoginDesk(guard, snapshot, store, iam, clock)
    jobs = Jobs(guard, directory_, store)
    usage = EntryTrail(partial(_entries, store, journal))
    insight = Insight(guard, directory_, SqlResources(engine, directory_), usage, clock)
    return DomainRegion(
        clock, journal, store, snapshot, guard, iam, federation, provisioning, tokens, vaults, associations, databases,
        desk, logins, jobs, insight, machine, tenancy, admin, path, files,
    )  # fmt: skip


def _entries(store: SqlStore, journal: ListJournal) -> list[Entry]:
    return [entry for _, entry in store.outbox(0, 100_000)] + journal.entries


def _engine(path: Path) -> Engine:
    """As in a region, but for waiting for the disk: no test pulls the plug."""
    engine = sqlite_engine(path)

    @event.listens_for(engine, "connect")
    def _hurry(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    return engine


def _entry(guard: Guard, caller: Caller) -> Entry:
    target = Target("tenancies", caller.principal.tenancy, "tenancy", caller.principal.tenancy, ())
    return guard.entry(caller, "TENANCY_CREATE", target, "Init", "succeeded")


def _tenancy(store: SqlStore, guard: Guard, clock: ManualClock, name: str) -> tuple[TenancyId, Caller]:
    now = clock.now()
    tenancy = TenancyId(new_id("tenancy", REGION))
    root = CompartmentId(tenancy)
    user = User(UserId(new_id("user", REGION)), tenancy, "admin", "ACTIVE", "", now)
    group = Group(new_id("group", REGION), tenancy, "Administrators", "", now)  # type: ignore[arg-type]
    statements = ("Allow group Administrators to manage all-resources in tenancy",)
    policy = Policy(PolicyId(new_id("policy", REGION)), tenancy, root, "administrators", statements, "", now)
    caller = caller_of(user)
    with store.write(_entry(guard, caller)) as tx:
        tx.iam.add_tenancy(Tenancy(tenancy, name, now + timedelta(seconds=name != "acme"), group.id))
        tx.iam.add_compartment(Compartment(root, tenancy, name, None, (root,), "", now))
        tx.iam.add_user(user, "plain:" + PASSWORD.decode())
        tx.iam.add_group(group)
        tx.iam.set_membership(Membership(tenancy, group.id, user.id, deleted=False))
        tx.iam.add_policy(policy)
    return tenancy, caller
