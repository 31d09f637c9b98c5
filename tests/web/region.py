"""A region as the web sees it: the real services on SQLite in a temporary directory, two tenancies, a fake audit disk.

`acme` has an administrator `root`, a user `nobody` without any permission, a vault, a key, a database system, a backup
and more, so that every operation can be asked of something that exists. `globex` is the other tenancy.
"""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.fakes.factors import known_device, proofs
from tests.fakes.inventory import EntryTrail, MemoryBackups
from tests.fakes.oidc import FakeProvider
from tests.fakes.seal import FakeSeal
from tests.web.asgi import Client
from tests.web.fakes import FakeIdempotency, FakeLog

from keystead.adapters.jose import JoseCodec
from keystead.adapters.seen_proofs import OwnSeen
from keystead.adapters.sql import schema, schema_approvals
from keystead.adapters.sql.engine import sqlite_engine
from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.adapters.sql.resources import SqlResources
from keystead.adapters.sql.store import SqlStore
from keystead.audit.query import EntryFilter, matches
from keystead.core.clock import ManualClock
from keystead.core.ids import ApprovalId, PrincipalId, UserId, new_id
from keystead.core.page import Page, PageRequest
from keystead.core.secret import Secret
from keystead.crypto import transport
from keystead.crypto.sign import SigningKey
from keystead.databases.creation import NewSystem
from keystead.databases.dependants import DatabaseDependants
from keystead.databases.desk import HostDesk
from keystead.databases.logins.acts import NewMapping
from keystead.databases.logins.desk import LoginDesk
from keystead.databases.logins.standing import STATEMENT
from keystead.databases.placement import Placement
from keystead.databases.service import Databases
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.gate import ApprovalGate
from keystead.iam.approvals.model import Approval, Rule, Term, Vote
from keystead.iam.directory import Directory
from keystead.iam.federation.login import Federation
from keystead.iam.federation.provisioning import Provisioning
from keystead.iam.federation.service import ProviderSettings
from keystead.iam.guard import Guard
from keystead.iam.insight.service import Insight
from keystead.iam.model import Caller, Compartment, Group, Policy, Principal, Target, Tenancy, User
from keystead.iam.ports import Machine, Membership
from keystead.iam.service import Iam
from keystead.iam.sessions.service import StoreBook
from keystead.iam.tokens import Tokens, machine_claims
from keystead.jobs.service import Jobs
from keystead.server.token_keys import TokenKeys
from keystead.vault.memory.keyring import Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.service import Vaults
from keystead.vault.use.association import Associations
from keystead.web.app import make_app
from keystead.web.pipeline import Limits
from keystead.web.ports import Verification
from keystead.web.services import Services

REGION = "home"
PASSWORD = "correct horse"


class PlainHasher:
    """Costs nothing: the tests of Argon2id are elsewhere."""

    def hash(self, password: Secret) -> str:
        return "plain:" + password.reveal().hex()

    def verify(self, encoded: str, password: Secret) -> bool:
        return encoded == self.hash(password)

    def decoy(self, password: Secret) -> bool:
        return False


class FakeCertificates:
    """Texts instead of certificates."""

    authority = b"authority"

    def issue(self, name: str) -> tuple[bytes, bytes]:
        return b"tls key", f"certificate of {name}".encode()


class Trail:
    """The audit trail over the entries that the fake log holds."""

    def __init__(self, guard: Guard, log: FakeLog) -> None:
        self._guard, self._log = guard, log

    def list_entries(self, caller: Caller, wanted: EntryFilter, page: PageRequest) -> Page[Any]:
        self._permit(caller, "ListAuditEntries")
        own = [entry for entry in self._log.entries if entry.tenancy == caller.principal.tenancy]
        return Page([entry for entry in reversed(own) if matches(wanted, entry)][: page.limit])

    def verify(self, caller: Caller) -> Verification:
        self._permit(caller, "VerifyAudit")
        return Verification(1, len(self._log.entries))

    def _permit(self, caller: Caller, operation: str) -> None:
        tenancy = caller.principal.tenancy
        self._guard.permit(
            caller, "AUDIT_EVENT_READ", Target("audit-events", tenancy, "audit", tenancy, (tenancy,)), operation
        )


class State:
    """Three chunks of state."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def backup(self, caller: Caller) -> Iterator[bytes]:
        self._guard.permit(caller, "STATE_BACKUP", self._guard.region_itself(), "BackUpState")
        return iter([b"one", b"two", b"three"])


API_KEYS = [SigningKey(bytes([number] * 32)).public.pem().decode() for number in (1, 2)]


@dataclass
class Region:
    """The services and what is in them."""

    services: Services
    log: FakeLog
    clock: ManualClock
    store: SqlStore
    codec: JoseCodec
    machine: str
    machine_key: SigningKey
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, who: str = "root", limits: Limits | None = None) -> Client:
        app = make_app(self.services, limits)
        return Client(app, self.tokens.get(who, who))

    def caller(self, who: str = "root") -> Caller:
        """As who calls the services themselves."""
        return self.services.iam.authenticate(self.tokens[who], "test", "test")

    def caller_again(self, who: str = "root") -> Caller:
        """As `caller`, with a token of now."""
        issued = self.services.iam.sign_in("acme", who, Secret(PASSWORD.encode()), "test", "test")
        return self.services.iam.authenticate(issued.token, "test", "test")

    def host_token(self) -> str:
        """The machine's own token, signed with its own key."""
        claims = machine_claims(self.machine, REGION, self.clock.now())
        codec = JoseCodec(self.machine_key, kid=self.machine)
        return codec.sign(claims)


def open_region(directory: Path) -> Region:
    """Build it all. Costs a few hundred milliseconds."""
    clock, log = ManualClock(), FakeLog()
    engine = sqlite_engine(directory / "state.db")
    schema.metadata.create_all(engine)
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        connection.execute(
            schema.region.insert().values(
                name=REGION, generation=1, changed_at=clock.now(), created_at=clock.now(), rollback_accepted=False
            )
        )
    store = SqlStore(engine, clock)
    freshness = SqliteFreshness(directory / "state.db")
    directory_ = Directory(clock)
    snapshot = Snapshot(directory_, Keyring(Secret(bytes(32)), directory_, REGION), freshness)
    guard = Guard(directory_, snapshot.refresh, log, clock, REGION)
    guard.gated_by(ApprovalGate(directory_, store, log, clock, REGION))
    codec = JoseCodec(TokenKeys(store, Secret(secrets.token_bytes(32)), clock, REGION, freshness.generation))
    tokens = Tokens(codec, directory_, snapshot.refresh, clock, REGION, StoreBook(store))
    files = MemoryBackups()
    vaults = Vaults(
        guard,
        snapshot,
        store,
        clock,
        REGION,
        DatabaseDependants(files),
        EntryTrail(lambda: log.entries),
    )
    associations = Associations(guard, snapshot, vaults, clock, REGION)
    machine, machine_key = new_id("machine", REGION), SigningKey.generate()
    placement = Placement(machine, "127.0.0.1", range(33100, 33900), range(0))
    iam = Iam(guard, directory_, store, tokens, PlainHasher(), log, clock, REGION, proofs())
    federation = Federation(
        guard, directory_, store, iam, PlainHasher(), clock, REGION, FakeProvider(clock), Secret(bytes(32)),
        "https://keys.example",
    )  # fmt: skip
    resources = SqlResources(engine, directory_)
    services = Services(
        iam=iam,
        federation=federation,
        insight=Insight(guard, directory_, resources, EntryTrail(lambda: log.entries), clock),
        provisioning=Provisioning(guard, store, PlainHasher(), clock, REGION),
        vaults=vaults,
        databases=Databases(guard, snapshot, store, vaults, associations, placement, b"PEM", clock, REGION),
        jobs=Jobs(guard, directory_, store),
        audit_trail=Trail(guard, log),
        state=State(guard),
        login_desk=LoginDesk(guard, snapshot, store, iam, clock),
        host_desk=HostDesk(guard, snapshot, store, associations, FakeCertificates(), clock, REGION),
        idempotency=FakeIdempotency(),
        log=log,
        clock=clock,
        region=REGION,
        version="1.2.3",
        generation=freshness.generation,
        sealed=lambda: False,
        seal=FakeSeal(guard=guard, store=store),
        seen=OwnSeen(lambda: clock.now().timestamp()),
        require_again=guard.require_again,
    )
    region = Region(services, log, clock, store, codec, machine, machine_key)
    _people(region, guard)
    snapshot.refresh()
    _sign_in(region)
    _things(region)
    return region


def _people(region: Region, guard: Guard) -> None:
    now = region.clock.now()
    for name in ("acme", "globex"):
        tenancy = Tenancy(new_id("tenancy", REGION), name, now + timedelta(seconds=name == "globex"))
        root = Compartment(tenancy.id, tenancy.id, name, None, (tenancy.id,), "", now)
        admin = User(new_id("user", REGION), tenancy.id, "root", "ACTIVE", "", now)
        nobody = User(new_id("user", REGION), tenancy.id, "nobody", "ACTIVE", "", now)
        group = Group(new_id("group", REGION), tenancy.id, "Administrators", "", now)
        statement = "Allow group Administrators to manage all-resources in tenancy"
        policy = Policy(new_id("policy", REGION), tenancy.id, tenancy.id, "administrators", (statement,), "", now)
        first = _first_caller(admin, tenancy)
        target = Target("tenancies", tenancy.id, name, tenancy.id, (tenancy.id,))
        with region.store.write(guard.entry(first, "", target, "CreateRegion", "succeeded")) as tx:
            tx.iam.add_tenancy(tenancy)
            tx.iam.add_compartment(root)
            for user in (admin, nobody):
                tx.iam.add_user(user, PlainHasher().hash(Secret(PASSWORD.encode())))
            tx.iam.add_group(group)
            tx.iam.set_membership(Membership(tenancy.id, group.id, admin.id, deleted=False))
            tx.iam.add_policy(policy)
            if name == "acme":
                public = region.machine_key.public.raw
                tx.iam.add_machine(Machine(region.machine, "test", public, deleted=False))
        prefix = "" if name == "acme" else "other_"
        region.ids |= {f"{prefix}tenancy": tenancy.id, f"{prefix}root": admin.id, f"{prefix}nobody": nobody.id}


def _first_caller(admin: User, tenancy: Tenancy) -> Caller:
    return Caller(Principal(admin.id, "user", admin.name, tenancy.id, tenancy.id), "setup")


def _sign_in(region: Region) -> None:
    for prefix, tenancy in (("", "acme"), ("other_", "globex")):
        for user in ("root", "nobody"):
            issued = region.services.iam.sign_in(tenancy, user, Secret(PASSWORD.encode()), "setup", "setup")
            region.tokens[prefix + user] = issued.token
    region.tokens["host"] = region.host_token()


def _things(region: Region) -> None:
    """One of everything, in both tenancies."""
    services = region.services
    for prefix in ("", "other_"):
        caller = services.iam.authenticate(region.tokens[prefix + "root"], "setup", "setup")
        place = services.iam.create_compartment(caller, region.ids[prefix + "tenancy"], "prod")
        user, _ = services.iam.create_user(caller, "someone")
        auth_token, _ = services.iam.create_auth_token(caller, user.id, "first")
        api_key = services.iam.create_api_key(caller, user.id, "first", API_KEYS[0])
        someone = Principal(user.id, "user", user.name, user.tenancy, user.tenancy)
        factor, _ = services.iam.enrol_totp(Caller(someone, "setup", "setup"), "phone")
        group = services.iam.create_group(caller, "Some")
        services.iam.add_member(caller, group.id, user.id)
        emergency = services.iam.create_group(caller, "Emergency")
        begun = services.iam.begin_break_glass(caller, emergency.id, user.id, 600, "a reason")
        ruled = services.iam.create_compartment(caller, region.ids[prefix + "tenancy"], "ruled")
        approver, _ = services.iam.create_user(caller, "approver")
        approvers = services.iam.create_group(caller, "Approvers")
        for member in (approver.id, caller.principal.id):
            services.iam.add_member(caller, approvers.id, member)
        rule = services.iam.create_approval_rule(caller, ruled.id, "two", RuleTerms(("DeleteKey",), approvers.id, 1))
        delegate = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"
        provider = services.federation.create_identity_provider(
            caller, "okta", "https://id.example.com", ProviderSettings(client_id="keystead")
        )
        services.federation.link_federated_user(caller, provider.id, user.id, "s-1")
        policy = services.iam.create_policy(
            caller, place.id, "p", (f"Allow group Some to read keys in compartment id {place.id}",)
        )
        services.iam.create_policy(caller, region.ids[prefix + "tenancy"], "delegate", (delegate,))
        dynamic = services.iam.create_dynamic_group(caller, "Apps", "ALL {resource.type = 'mysqldbsystem'}")
        source = services.iam.create_network_source(caller, "office", ("192.0.2.0/24",))
        vault = services.vaults.create_vault(caller, place.id, "vault")
        key = services.vaults.create_key(caller, place.id, vault.id, "key")
        signing = services.vaults.create_key(caller, place.id, vault.id, "signing", "EC-P256")
        version = services.vaults.list_versions(caller, key.id, PageRequest(1)).items[0]
        wrapped = services.vaults.wrap(caller, key.id, b"k" * 32)
        encrypted = services.vaults.encrypt(caller, key.id, b"words")
        made = services.databases.create(caller, NewSystem(place.id, "flights", key.id))
        with region.store.note() as tx:
            tx.databases.change(made.system, replace(made.system, state="ACTIVE"))
            tx.jobs.cancel_for(made.system.tenancy, made.system.id, region.clock.now())
        backup, job = services.databases.create_backup(caller, made.system.id, "monday")
        with region.store.note() as tx:
            tx.databases.change_backup(backup, replace(backup, state="ACTIVE"))
            tx.jobs.cancel_for(made.system.tenancy, backup.id, region.clock.now())
        services.iam.create_policy(caller, region.ids[prefix + "tenancy"], "login", (STATEMENT,))
        me = caller.principal
        mapping = services.databases.map_login(caller, made.system.id, NewMapping("user", me.id, "people"))
        token = services.iam.exchange_token(caller, "databases").token
        region.ids[prefix + "login_token"] = base64.b64encode(token.encode()).decode()
        account_text = {"mapping": mapping.id, "tenancy": me.tenancy, "user": me.id}
        region.ids[prefix + "account_text"] = json.dumps(account_text)
        region.ids |= {
            prefix + name: value
            for name, value in {
                "compartment_id": place.id,
                "user_id": user.id,
                "auth_token_id": auth_token.id,
                "api_key_id": api_key.id,
                "session_id": caller.session,
                "factor_id": factor.id,
                "device_id": known_device(region.store, user, region.clock.now()),
                "group_id": group.id,
                "break_glass_id": begun.id,
                "approval_rule_id": rule.id,
                "approvers_id": approvers.id,
                "ruled_id": ruled.id,
                "approval_id": waiting(region.store, rule, user.id, caller.principal.id),
                "policy_id": policy.id,
                "dynamic_group_id": dynamic.id,
                "network_source_id": source.id,
                "tenancy_id": region.ids[prefix + "tenancy"],
                "identity_provider_id": provider.id,
                "vault_id": vault.id,
                "key_id": key.id,
                "key_version_id": version.id,
                "signing_key_id": signing.id,
                "db_system_id": made.system.id,
                "login_mapping_id": mapping.id,
                "backup_id": backup.id,
                "job_id": job.id,
            }.items()
        }
        _transfers(region, prefix, caller, place.id, vault.id, key.id)
        region.ids[prefix + "wrapped"] = base64.b64encode(wrapped.blob).decode()
        region.ids[prefix + "encrypted"] = base64.b64encode(encrypted.blob).decode()


def waiting(store: SqlStore, rule: Rule, requester: str, approver: str) -> str:
    """A request that waits for one approver."""
    terms = (Term(rule.id, rule.name, rule.version, rule.group_id, 1, (approver,)),)
    made = Approval(
        ApprovalId(new_id("approval", REGION)), rule.tenancy, rule.compartment, "DeleteKey", "keys", "", "key", 0,
        PrincipalId(requester), "someone", "digest", "{}", terms, "PENDING", rule.created_at,
        rule.created_at + timedelta(hours=24),
    )  # fmt: skip
    with store.note() as tx:
        tx.approvals.add_approval(made)
    return made.id


def approve(region: Region, approval_id: str) -> None:
    """A member says yes, for each rule."""
    with region.store.note() as tx:
        found = tx.approvals.approval(region.ids["tenancy"], approval_id)
        assert found is not None
        for term in found.terms:
            tx.approvals.add_vote(found, Vote(UserId(term.members[0]), "", "approve", "", region.clock.now()))


def unheard(region: Region, approval_id: str) -> None:
    """Nobody has said anything yet."""
    with region.store.note() as tx:
        tx.connection.execute(schema_approvals.approval_votes.delete())
        where = schema_approvals.approvals.c.id == approval_id
        tx.connection.execute(schema_approvals.approvals.update().where(where).values(state="PENDING"))


def _transfers(region: Region, prefix: str, caller: Caller, place: str, vault: str, key: str) -> None:
    """Wrapped material, and backups of what is gone."""
    vaults = region.services.vaults
    for name, wrapping in (
        ("", vaults.create_wrapping_key(caller, vault, "AES-256")),
        ("version_", vaults.create_version_wrapping_key(caller, key)),
    ):
        wrapped = transport.wrap(wrapping.way, wrapping.public, Secret(secrets.token_bytes(32)))
        region.ids[f"{prefix}{name}wrapping_key_id"] = wrapping.id
        region.ids[f"{prefix}{name}wrapped_key"] = base64.b64encode(wrapped).decode()
    gone = vaults.create_key(caller, place, vault, "gone")
    region.ids[prefix + "key_backup"] = base64.b64encode(vaults.back_up_key(caller, gone.id).blob).decode()
    vaults.delete(caller, gone.id)
    vaults.purge(caller, gone.id)
    empty = vaults.create_vault(caller, place, "gone")
    region.ids[prefix + "vault_backup"] = base64.b64encode(vaults.back_up_vault(caller, empty.id).blob).decode()
    vaults.delete_vault(caller, empty.id)
    vaults.purge_vault(caller, empty.id)
