"""Every constructor call of a region, in one place.

`open_region` joins the domain packages to their adapters for one process: a worker of `serve`, `work`, or a tool.
Nothing else in Keystead builds a service.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from keystead import __version__
from keystead.adapters.backup_files import FileBackups
from keystead.adapters.jose import JoseCodec
from keystead.adapters.oidc import OidcProviders
from keystead.adapters.seen_proofs import SharedSeen
from keystead.adapters.segments import SegmentJournal, open_journal
from keystead.adapters.sql import schema
from keystead.adapters.sql.audit_index import AuditIndex
from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.sql.idempotency import SqlIdempotency
from keystead.adapters.sql.key_trail import IndexedKeyTrail
from keystead.adapters.sql.reserve import Reserve
from keystead.adapters.sql.resources import SqlResources
from keystead.adapters.sql.store import SqlStore
from keystead.adapters.totp import PyTotp
from keystead.adapters.webauthn import WebAuthnAuthenticators
from keystead.adapters.write_events import watch_state
from keystead.audit.service import AuditLog
from keystead.audit.strangers import GuardedLog
from keystead.core.clock import Clock, SteadyClock, SystemClock
from keystead.core.errors import Fault
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId, new_id
from keystead.core.secret import Secret
from keystead.crypto import kdf, passwords
from keystead.crypto.envelope import Kek
from keystead.databases.dependants import DatabaseDependants
from keystead.databases.placement import Placement
from keystead.iam.approvals.gate import ApprovalGate
from keystead.iam.directory import Directory
from keystead.iam.factors.network import network_of
from keystead.iam.factors.ports import Proofs
from keystead.iam.federation.login import Federation
from keystead.iam.federation.provisioning import Provisioning
from keystead.iam.guard import Guard
from keystead.iam.insight.service import Insight
from keystead.iam.model import Caller, Principal
from keystead.iam.service import Iam
from keystead.iam.sessions.service import StoreBook
from keystead.iam.tokens import Tokens
from keystead.jobs.model import Job
from keystead.jobs.runner import Flow, Runner
from keystead.seal.service import RootKey
from keystead.server import authority
from keystead.server.keystores import keystores
from keystead.server.machine import this_machine
from keystead.server.sealing.door import Closed, OpenSealDoor, SealDoor
from keystead.server.sealing.newroot import keyring_of
from keystead.server.sealing.warden import ordered
from keystead.server.settings import Effective, ranged
from keystead.server.state.backup import StateBackup
from keystead.server.state.opening import INDEX_FILE, RESERVE_FILE, SEGMENTS, STATE_FILE, open_state
from keystead.server.token_keys import TokenKeys
from keystead.server.trail import AuditTrail
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.service import Vaults
from keystead.vault.use.association import Associations
from keystead.web.turns import OncePerTurn

if TYPE_CHECKING:
    from keystead.web.app import App
    from keystead.web.pipeline import Entrance
    from keystead.web.services import Services

SEEN_NAME = "proofs.seen"
CONTROL_NAME = "host.sock"
RUNNERS = 4


@dataclass(frozen=True)
class Region:
    """A region, open in this process. `close` it."""

    effective: Effective
    clock: Clock
    engine: sa.Engine
    store: SqlStore
    freshness: SqliteFreshness
    journal: SegmentJournal
    log: GuardedLog
    snapshot: Snapshot
    guard: Guard
    tokens: Tokens
    iam: Iam
    federation: Federation
    vaults: Vaults
    associations: Associations
    placement: Placement
    certificates: authority.RegionCertificates
    index: AuditIndex
    backup_key: Secret = field(repr=False)

    @property
    def name(self) -> str:
        """The region's name."""
        return self.effective.settings.region.name

    def close(self) -> None:
        """Let go of everything; what was appended to the audit log, or counted for it, is written first."""
        with suppress(Fault):
            self.log.close()
        self.journal.close()
        self.index.close()
        self.engine.dispose()


def open_region(effective: Effective, root: RootKey, process: str, *, gather: bool = False) -> Region:
    """Join everything for this process. `process` names its audit segments. The root key is wiped.

    `gather`: each audit entry is followed by a barrier, as the HTTP pipeline does it (see adapters/segments).

    Raises:
        Refusal: `StateMissing`, `StateOlder`, `StateNewer`, `InvalidAuthority`, `NoMachine`.
        Fault: the audit log cannot be written.
    """
    region = effective.settings.region.name
    engine = open_state(effective.state)
    # Time goes on from the last change: a clock set back while nothing ran revives nothing either.
    clock = SteadyClock(SystemClock(), _last_change(engine))
    store = SqlStore(engine, clock, Reserve(effective.state / RESERVE_FILE))
    freshness = SqliteFreshness(effective.state / STATE_FILE)
    directory = Directory(clock)
    keyring = keyring_of(engine, root, directory)
    for keystore in keystores(effective, keyring.software):
        keyring.join(keystore)
    snapshot = Snapshot(directory, keyring, OncePerTurn(freshness), on_demand=True)
    sync = effective.settings.audit.sync
    journal = open_journal(effective.state / SEGMENTS, process, region, sync=sync, gather=gather, skip_broken=True)
    log = GuardedLog(journal, clock, region, network_of)
    guard = Guard(directory, snapshot.refresh, log, clock, region)
    guard.gated_by(ApprovalGate(directory, store, log, clock, region))
    signing = root.subkey("token-signing")
    codec = JoseCodec(TokenKeys(store, signing, clock, region, freshness.generation))
    tokens = Tokens(codec, directory, snapshot.refresh, clock, region, StoreBook(store))
    iam = Iam(guard, directory, store, tokens, Argon2id(), log, clock, region, _proofs(effective, root))
    index = AuditIndex(effective.state / INDEX_FILE, effective.state / SEGMENTS)
    dependants = DatabaseDependants(FileBackups(effective.backups))
    vaults = Vaults(guard, snapshot, store, clock, region, dependants, IndexedKeyTrail(index))
    ca = authority.load(effective.state, root, authority.DATABASES)
    made = Region(
        effective=effective,
        clock=clock,
        engine=engine,
        store=store,
        freshness=freshness,
        journal=journal,
        log=log,
        snapshot=snapshot,
        guard=guard,
        tokens=tokens,
        iam=iam,
        federation=_federation(effective, root, guard, directory, store, iam, clock),
        vaults=vaults,
        associations=Associations(guard, snapshot, vaults, clock, region),
        placement=_placement(effective),
        certificates=authority.RegionCertificates(ca, clock, effective.certificate_names),
        index=index,
        backup_key=root.subkey("state-backup"),
    )
    snapshot.refresh()
    root.wipe()
    return made


def _federation(
    effective: Effective,
    root: RootKey,
    guard: Guard,
    directory: Directory,
    store: SqlStore,
    iam: Iam,
    clock: Clock,
) -> Federation:
    providers = OidcProviders(effective.settings.federation.inside)
    key = Secret(kdf.subkey(root.subkey("vault-store").reveal(), "federation"))
    name, base = effective.settings.region.name, _found_at(effective)
    return Federation(guard, directory, store, iam, Argon2id(), clock, name, providers, key, base)


def services(region: Region) -> "Services":
    """What the HTTP faces are joined to."""
    from keystead.databases.desk import HostDesk
    from keystead.databases.logins.desk import LoginDesk
    from keystead.databases.service import Databases
    from keystead.jobs.service import Jobs
    from keystead.server.idempotency import IdempotencyNotes
    from keystead.web.idempotency import KEPT
    from keystead.web.services import Services

    guard, snapshot, store, clock, name = region.guard, region.snapshot, region.store, region.clock, region.name
    certificates = region.certificates
    host_desk = HostDesk(guard, snapshot, store, region.associations, certificates, clock, name)
    region.tokens.judge_resources(host_desk.stands)
    return Services(
        iam=region.iam,
        federation=region.federation,
        insight=Insight(
            guard, snapshot.directory, SqlResources(region.engine, snapshot.directory), region.index, clock
        ),
        provisioning=Provisioning(guard, store, Argon2id(), clock, name),
        vaults=region.vaults,
        databases=Databases(
            guard,
            snapshot,
            store,
            region.vaults,
            region.associations,
            region.placement,
            certificates.authority,
            clock,
            name,
        ),
        jobs=Jobs(guard, snapshot.directory, store),
        audit_trail=AuditTrail(guard, region.index, region.effective.state / SEGMENTS, SqlHeads(region.engine)),
        state=StateBackup(guard, region.effective, region.backup_key, clock),
        login_desk=LoginDesk(guard, snapshot, store, region.iam, clock),
        host_desk=host_desk,
        idempotency=IdempotencyNotes(SqlIdempotency(region.engine, clock, KEPT)),
        log=region.log,
        clock=clock,
        region=name,
        version=__version__,
        generation=region.freshness.generation,
        sealed=ordered,
        seal=OpenSealDoor(region.effective.runtime, guard, store, region.log, clock, name),
        seen=SharedSeen(region.effective.runtime / SEEN_NAME),
        events=lambda: watch_state(region.effective.state / STATE_FILE),
        names=_names(region.effective),
        require_again=guard.require_again,
    )


def sealed_services(effective: Effective, log: AuditLog) -> "Services":
    """The same while the region is sealed: nothing that needs the root key is there."""
    from keystead.web.services import Services

    closed: Any = Closed()
    clock, name = SteadyClock(SystemClock()), effective.settings.region.name
    return Services(
        iam=closed,
        federation=closed,
        insight=closed,
        provisioning=closed,
        vaults=closed,
        databases=closed,
        jobs=closed,
        audit_trail=closed,
        state=closed,
        host_desk=closed,
        login_desk=closed,
        idempotency=closed,
        log=log,
        clock=clock,
        region=name,
        version=__version__,
        generation=lambda: 0,
        sealed=lambda: True,
        seal=SealDoor(effective.runtime, log, clock, name),
        seen=closed,
    )


def open_sealed_journal(effective: Effective, process: str) -> SegmentJournal:
    """The audit journal of a worker of a sealed region. Raises: Fault: the audit log cannot be written."""
    return open_journal(
        effective.state / SEGMENTS,
        process,
        effective.settings.region.name,
        sync=effective.settings.audit.sync,
        gather=True,
        skip_broken=True,
    )


def runners(region: Region) -> list[Runner]:
    """The runners of `work`, each for a thread of its own."""
    from keystead.adapters.hosts import SocketHost
    from keystead.databases import backups, flows

    files = FileBackups(region.effective.backups)
    host = SocketHost(region.effective.runtime / CONTROL_NAME)
    given = (
        region.guard,
        region.snapshot,
        region.store,
        region.associations,
        host,
        region.clock,
        region.name,
    )
    made: dict[str, Flow] = {
        "create": flows.Create(*given),
        "start": flows.Start(*given),
        "stop": flows.Stop(*given),
        "restart": flows.Restart(*given),
        "delete": flows.Delete(*given),
        "rotate": flows.RotateDataKeys(*given),
        "verify": flows.Verify(*given),
        "backup": backups.TakeBackup(*given, files),
        "delete-backup": backups.DeleteBackup(*given, files),
        "restore": backups.Restore(*given, files),
    }
    owner = new_id("request", region.name)
    return [Runner(region.store, made, region.clock, f"{owner}/{n}", _job_failed) for n in range(RUNNERS)]


def upkeep(region: Region) -> Callable[[], int]:
    """What `work` does again and again for vaults and keys: returns how much there was to do."""
    from keystead.databases.follow import Followers
    from keystead.iam.approvals.break_glass import BreakGlassUpkeep
    from keystead.vault.lifecycle.upkeep import Upkeep

    # The service that the catalogue knows; nobody else can be it (law 1).
    name = PrincipalId("upkeep")
    caller = Caller(Principal(name, "service", "upkeep", TenancyId(""), CompartmentId("")), request_id="")
    keys = Upkeep(region.guard, region.snapshot, region.store, region.clock, region.name)
    ended = BreakGlassUpkeep(region.guard, region.store, region.clock)
    followers = Followers(region.guard, region.snapshot, region.store, region.associations, region.clock)
    return lambda: ended.run(caller) + keys.run(caller) + followers.run(caller)


def _job_failed(job: Job, error: Exception) -> None:
    """A bug in a flow: its frames are for the operator, its text might hold anything."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)[-12:]]
    structlog.get_logger().error("a job failed", job=job.id, kind=job.kind, error=type(error).__name__, frames=frames)


def serve_app(region: Region, entrance: "Entrance" = "") -> "App":
    """The application of one worker. Close it, then the region."""
    return _app(services(region), region.effective, entrance)


def sealed_app(effective: Effective, journal: SegmentJournal) -> "tuple[App, Callable[[], None]]":
    """The application of one worker of a sealed region, and what closes its audit log. Close it first."""
    log = GuardedLog(journal, SteadyClock(SystemClock()), effective.settings.region.name, network_of)

    def close() -> None:
        with suppress(Fault):
            log.close()
        journal.close()

    return _app(sealed_services(effective, log), effective), close


def _app(given_services: "Services", effective: Effective, entrance: "Entrance" = "") -> "App":
    from keystead.web.app import make_app
    from keystead.web.pipeline import Limits

    given = effective.settings.limits
    limits = Limits(
        body_bytes=given.body_kb * 1024,
        threads=given.threads,
        queue=given.waiting,
        sign_in_threads=given.sign_ins,
        sign_in_queue=given.sign_ins_waiting,
    )
    return make_app(given_services, limits, entrance)


class Argon2id:
    """`PasswordHasher` by crypto/passwords."""

    def hash(self, password: Secret) -> str:
        return passwords.hash(password)

    def verify(self, encoded: str, password: Secret) -> bool:
        return passwords.verify(encoded, password)

    def decoy(self, password: Secret) -> bool:
        return passwords.decoy(password)


def _found_at(effective: Effective) -> str:
    """Where browsers find this region."""
    listen, url = effective.settings.listen, effective.settings.federation.url
    name = listen.names[0] if listen.names else listen.host
    return url or f"{'https' if listen.tls else 'http'}://{name}:{listen.port}"


def _last_change(engine: sa.Engine) -> datetime:
    with engine.connect() as connection:
        found: datetime = connection.execute(sa.select(schema.region.c.changed_at)).scalar_one()
    return found


def _names(effective: Effective) -> frozenset[str]:
    """The names that proofs may be made for: those of the certificate, and where it listens."""
    listen = effective.settings.listen
    return frozenset(name.lower() for name in [*authority.machine_names(listen.names), listen.host])


def _proofs(effective: Effective, root: RootKey) -> Proofs:
    """What second factors need. Secrets of code generators are sealed by a key that comes from the root key."""
    given, key = effective.settings.sign_in, root.subkey("sign-in").reveal()
    port = effective.settings.listen.port
    origins = given.origins or (f"https://{given.domain}:{port}", f"http://{given.domain}:{port}")
    return Proofs(
        PyTotp(),
        WebAuthnAuthenticators(given.domain, origins, f"Keystead {effective.settings.region.name}"),
        Kek(key, "sign-in", 1),
        Secret(kdf.subkey(key, "sign-in/marks")),
    )


def _placement(effective: Effective) -> Placement:
    given = effective.settings.databases
    uids = ranged(given.uids, "[databases] uids") if os.geteuid() == 0 else range(0)
    machine = this_machine(effective.state)
    return Placement(machine.id, effective.database_name, ranged(given.ports, "[databases] ports"), uids)
