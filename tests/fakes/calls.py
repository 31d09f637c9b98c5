"""Every public method of every service, as a call that can be made with anybody's ids: for walks over all of them.

`THINGS` of a tenancy are one of each kind; a call names those it uses, so that a walk can put others in their place.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from itertools import count

from tests.fakes.domain import REGION, DomainRegion, caller_of
from tests.fakes.oidc import ISSUER

from keystead.adapters.sql import schema_approvals
from keystead.core.ids import ApprovalId, CompartmentId, PrincipalId, UserId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, transport
from keystead.crypto.envelope import Binding
from keystead.crypto.sign import SigningKey
from keystead.crypto.suites import suite_of
from keystead.databases.creation import NewSystem
from keystead.databases.dependants import DatabaseDependants
from keystead.databases.desk import Report
from keystead.databases.logins.acts import NewMapping
from keystead.databases.logins.model import LoginRequest, MappingReport
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.model import Approval, Rule, Term, Vote
from keystead.iam.factors.model import SignInSettings
from keystead.iam.federation.model import GroupMapping
from keystead.iam.federation.service import ProviderSettings
from keystead.iam.model import Asked, Caller, Target, User
from keystead.iam.ports import Membership
from keystead.vault.insight.inventory import counted
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.transfer.backup_format import Kept, KeptKey, KeptVersion, Kind, seal
from keystead.vault.transfer.importing import Wrapped
from keystead.vault.transfer.wrapping import WrappingKey

ASSOCIATED = b"for me"
PROVIDER = ProviderSettings(client_id="keystead", client_secret=Secret(b"shared"))
_numbers = count(1)
_page = PageRequest(10)
_nobody = LoginRequest("token", "ann", "{}", b"", b"x", "192.0.2.7", 1)


def fresh_key() -> str:
    return SigningKey.generate().public.pem().decode()


def fresh() -> str:
    """A name that nobody has used."""
    return f"new-{next(_numbers)}"


@dataclass(frozen=True)
class Things:
    """Ids of one of each, in one tenancy; `wrapped` and `encrypted` were made with `key`."""

    compartment: str
    user: str
    group: str
    policy: str
    vault: str
    key: str
    system: str
    backup: str
    job: str
    signing: str
    version: str
    auth_token: str
    api_key: str
    factor: str
    break_glass: str
    login_mapping: str
    dynamic_group: str
    network_source: str
    tenancy: str
    wrapped: bytes = b""
    encrypted: bytes = b""
    provider: str = ""
    rule: str = ""
    approval: str = ""

    def missing(self) -> "Things":
        """Ids that look the same and name nothing."""
        kinds = {"system": "mysqldbsystem", "backup": "mysqlbackup", "signing": "key", "version": "keyversion"}
        kinds |= {"auth_token": "authtoken", "api_key": "apikey", "break_glass": "breakglass"}
        kinds |= {"login_mapping": "loginmapping"}
        kinds |= {"dynamic_group": "dynamicgroup", "network_source": "networksource"}
        kinds |= {"provider": "identityprovider"}
        kinds["rule"] = "approvalrule"
        ids = {
            field.name: new_id(kinds.get(field.name, field.name), "home")  # type: ignore[arg-type]
            for field in fields(self)
            if field.name not in ("wrapped", "encrypted")
        }
        return replace(self, **ids)


def make_things(region: DomainRegion, caller: Caller) -> Things:
    """One of each, made by `caller`, an administrator."""
    tenancy = caller.principal.tenancy
    place = region.iam.create_compartment(caller, tenancy, "prod")
    user, _ = region.iam.create_user(caller, "someone")
    auth_token, _ = region.iam.create_auth_token(caller, user.id, "first")
    api_key = region.iam.create_api_key(caller, user.id, "first", fresh_key())
    factor, _ = region.iam.enrol_totp(caller_of(user), "phone")
    group = region.iam.create_group(caller, "Some")
    region.iam.add_member(caller, group.id, user.id)
    emergency = region.iam.create_group(caller, "Emergency")
    begun = region.iam.begin_break_glass(caller, emergency.id, user.id, 600, "a reason")
    provider = region.federation.create_identity_provider(caller, "okta", ISSUER, PROVIDER).id
    ruled = region.iam.create_compartment(caller, tenancy, "ruled")
    approver, _ = region.iam.create_user(caller, "approver")
    approvers = region.iam.create_group(caller, "Approvers")
    region.iam.add_member(caller, approvers.id, approver.id)
    rule = region.iam.create_approval_rule(caller, ruled.id, "two", RuleTerms(("DeleteKey",), approvers.id, 1))
    delegate = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"
    region.iam.create_policy(caller, tenancy, "delegates", (delegate,))
    policy = region.iam.create_policy(
        caller, place.id, "p", (f"Allow group Some to read keys in compartment id {place.id}",)
    )
    dynamic = region.iam.create_dynamic_group(caller, "Apps", RULE)
    source = region.iam.create_network_source(caller, "office", NETWORKS)
    vault = region.vaults.create_vault(caller, place.id, "vault")
    key = region.vaults.create_key(caller, place.id, vault.id, "key")
    signing = region.vaults.create_key(caller, place.id, vault.id, "signing", "ED25519").id
    region.snapshot.refresh()
    version = region.vaults.list_versions(caller, key.id, _page).items[0].id
    wrapped = region.vaults.wrap(caller, key.id, b"k" * 32, ASSOCIATED).blob
    encrypted = region.vaults.encrypt(caller, key.id, b"words", ASSOCIATED).blob
    made = region.databases.create(caller, NewSystem(place.id, "flights", key.id))
    active(region, made.system.id)
    backup, job = region.databases.create_backup(caller, made.system.id, "monday")
    with region.store.note() as tx:
        tx.databases.change_backup(backup, replace(backup, state="ACTIVE"))
    active(region, made.system.id)
    mapping = region.databases.map_login(caller, made.system.id, NewMapping("user", user.id))
    return Things(
        place.id, user.id, group.id, policy.id, vault.id, key.id, made.system.id, backup.id, job.id, signing, version,
        auth_token.id, api_key.id, factor.id, begun.id, mapping.id, dynamic.id, source.id, tenancy, wrapped, encrypted,
        provider, rule.id, waiting(region, caller, user, rule),
    )  # fmt: skip


def waiting(region: DomainRegion, caller: Caller, user: User, rule: Rule) -> str:
    """A request of a user's that waits for one of the group."""
    now, tenancy = region.clock.now(), caller.principal.tenancy
    term = Term(rule.id, "two", 1, rule.group_id, 1, (caller.principal.id,))
    made = Approval(
        ApprovalId(new_id("approval", REGION)), tenancy, CompartmentId(tenancy), "DeleteKey", "keys", "", "key", 0,
        PrincipalId(user.id), user.name, "digest", "{}", (term,), "PENDING", now, now + timedelta(hours=24),
    )  # fmt: skip
    with region.store.note() as tx:
        tx.approvals.add_approval(made)
    return made.id


def approved(region: DomainRegion, caller: Caller, t: Things) -> Caller:
    """The caller with a request about the rule that a member of its group has approved of."""
    who, now, named = caller.principal, region.clock.now(), new_id("approval", REGION)
    with region.store.note() as tx:
        rule = tx.approvals.rule(who.tenancy, t.rule)
        if rule is None:
            return caller
        user, name = tx.approvals.approvers(who.tenancy, rule.group_id)[0]
        made = Approval(
            ApprovalId(named), who.tenancy, rule.compartment, "x", "approval-rules", rule.id, rule.name, rule.version,
            who.id, who.name, "digest", "{}", (Term(rule.id, "two", rule.version, rule.group_id, 1, (user,)),),
            "PENDING", now, now + timedelta(hours=24),
        )  # fmt: skip
        tx.approvals.add_approval(made)
        tx.approvals.add_vote(made, Vote(UserId(user), name, "approve", "", now))
    return replace(caller, asked=Asked("x", "digest", "{}", named))


def _everybody_approves(region: DomainRegion, t: Things) -> None:
    """Everybody there is has been in the group since the request was made."""
    region.snapshot.refresh()
    everybody = [user.id for user in region.snapshot.directory.users_in(region.tenancy)]
    entry = region.guard.entry(region.admin, "", Target("groups", "", "", region.tenancy, ()), "Prepare", "allowed")
    with region.store.write(entry) as tx:
        rule = tx.approvals.rule(region.tenancy, t.rule)
        assert rule is not None
        for user in everybody:
            tx.iam.set_membership(Membership(region.tenancy, rule.group_id, user, deleted=False))
        terms = [
            {"rule": t.rule, "name": "two", "version": 1, "group": rule.group_id, "needed": 1, "members": everybody}
        ]
        tx.connection.execute(schema_approvals.approvals.update().values(terms=terms))


def active(region: DomainRegion, system_id: str, **changes: object) -> None:
    """Let a system be ACTIVE with no job under way, as the runner and the host would have brought it about."""
    with region.store.note() as tx:
        system = next(found for found in tx.databases.all_systems() if found.id == system_id)
        changes = {"state": "ACTIVE", "desired": "running", "reason": "", "reason_text": ""} | changes
        assert tx.databases.change(system, replace(system, **changes))  # type: ignore[arg-type]
        tx.jobs.cancel_for(system.tenancy, system.id, region.clock.now())


@dataclass(frozen=True)
class Call:
    """One method. `uses` are the fields of Things whose ids it takes; `prepare` makes it possible to succeed."""

    run: Callable[[DomainRegion, Caller, Things], object]
    uses: tuple[str, ...] = ()
    prepare: Callable[[DomainRegion, Things], object] = lambda region, things: None
    writes: bool = True


def wrapped_for(region: DomainRegion, caller: Caller, vault: str, key: str = "") -> Wrapped:
    """Material wrapped for a wrapping key that the caller has been given, whatever they may do."""
    suite, who, new = suite_of("HPKE-X25519-MLKEM768"), caller.principal, new_id("wrappingkey", REGION)
    private = asymmetric.generate(suite)
    public = asymmetric.PrivateKey(suite, private).public
    sealing = region.snapshot.keyring.sealing_of(vault)
    sealed = sealing.seal(private.reveal(), Binding("wrapping-key", who.tenancy, REGION, new, sealing.key_id))
    now = region.clock.now()
    row = WrappingKey(
        new, who.tenancy, vault, key, "AES-256", "HPKE-X25519-MLKEM768", who.id, public.spki, sealed, now,  # type: ignore[arg-type]
        now + timedelta(hours=1),
    )  # fmt: skip
    with region.store.note() as tx:
        tx.vault.add_wrapping_key(row)
    return Wrapped(row.id, transport.wrap(row.way, public.spki, Secret(secrets.token_bytes(32))))


def backup_of(region: DomainRegion, caller: Caller, things: Things, kind: Kind = "key") -> bytes:
    """A backup that the caller has been given, of a key (or a vault with it) that is nowhere any more."""
    tenancy, now = caller.principal.tenancy, region.clock.now()
    vault = Vault(
        new_id("vault", REGION), tenancy, things.compartment, fresh(), "software", now, "", now  # type: ignore[arg-type]
    )  # fmt: skip
    inside = vault.id if kind == "vault" else things.vault
    key = Key(
        new_id("key", REGION), tenancy, things.compartment, inside, fresh(), "AES-256", "DISABLED", 1, now, "", now  # type: ignore[arg-type]
    )  # fmt: skip
    version = KeyVersion(new_id("keyversion", REGION), key.id, 1, b"", now)  # type: ignore[arg-type]
    one = KeptKey(key, (KeptVersion(version, Secret(secrets.token_bytes(32))),))
    kept = Kept(kind, tenancy, REGION, now, (one,), vault if kind == "vault" else None)
    return seal(kept, region.snapshot.keyring.backup_key(tenancy))


def _read(run: Callable[[DomainRegion, Caller, Things], object], *uses: str) -> Call:
    return Call(run, uses, writes=False)


def _disabled(region: DomainRegion, t: Things) -> None:
    region.vaults.disable(region.admin, t.key)


def _pending(region: DomainRegion, t: Things) -> None:
    region.vaults.schedule_deletion(region.admin, t.key, confirm_needed_by=needed(region, t))


def _deleted(region: DomainRegion, t: Things) -> None:
    region.vaults.delete(region.admin, t.key, confirm_needed_by=needed(region, t))


def _rotated(region: DomainRegion, t: Things) -> None:
    region.vaults.rotate(region.admin, t.key)


def _version_disabled(region: DomainRegion, t: Things) -> None:
    region.vaults.disable_version(region.admin, t.key, t.version)


def _version_pending(region: DomainRegion, t: Things) -> None:
    _rotated(region, t)
    region.vaults.schedule_version_deletion(region.admin, t.key, t.version, confirm_needed_by=needed(region, t))


def _vault_pending(region: DomainRegion, t: Things) -> None:
    region.vaults.schedule_vault_deletion(region.admin, t.vault, confirm_needed_by=needed(region, t))


def _vault_deleted(region: DomainRegion, t: Things) -> None:
    region.vaults.delete_vault(region.admin, t.vault, confirm_needed_by=needed(region, t))


def _stopped(region: DomainRegion, t: Things) -> None:
    active(region, t.system, state="INACTIVE", desired="stopped")


def needed(region: DomainRegion, t: Things) -> int:
    """By how many the key, or every key of the vault, is needed now; 0 for what does not exist."""
    region.snapshot.refresh()
    ring, survey = region.snapshot.keyring, DatabaseDependants(region.files).survey()
    keys = [entry.key for entry in ring.entries() if t.key == entry.key.id]
    with region.store.read() as tx:
        return len(counted([need for key in keys for need in survey.needs(tx, key)]))


_compartment = ("compartment",)
_dynamic, _source = ("dynamic_group",), ("network_source",)
RULE = "ALL {resource.type = 'mysqldbsystem'}"
NETWORKS = ("192.0.2.0/24",)

IAM: Mapping[str, Call] = {
    "create_compartment": Call(lambda r, c, t: r.iam.create_compartment(c, t.compartment, fresh()), _compartment),
    "get_compartment": _read(lambda r, c, t: r.iam.get_compartment(c, t.compartment), "compartment"),
    "list_compartments": _read(lambda r, c, t: r.iam.list_compartments(c, t.compartment, _page), "compartment"),
    "create_user": Call(lambda r, c, t: r.iam.create_user(c, fresh())),
    "get_user": _read(lambda r, c, t: r.iam.get_user(c, t.user), "user"),
    "list_users": _read(lambda r, c, t: r.iam.list_users(c, _page)),
    "update_user": Call(lambda r, c, t: r.iam.update_user(c, t.user, "BLOCKED"), ("user",)),
    "delete_user": Call(lambda r, c, t: r.iam.delete_user(c, t.user), ("user",)),
    "reset_password": Call(lambda r, c, t: r.iam.reset_password(c, t.user), ("user",)),
    "revoke_user_tokens": Call(lambda r, c, t: r.iam.revoke_user_tokens(c, t.user), ("user",)),
    "create_auth_token": Call(lambda r, c, t: r.iam.create_auth_token(c, t.user, fresh()), ("user",)),
    "list_auth_tokens": _read(lambda r, c, t: r.iam.list_auth_tokens(c, t.user, _page), "user"),
    "delete_auth_token": Call(lambda r, c, t: r.iam.delete_auth_token(c, t.user, t.auth_token), ("user", "auth_token")),
    "create_api_key": Call(lambda r, c, t: r.iam.create_api_key(c, t.user, fresh(), fresh_key()), ("user",)),
    "list_api_keys": _read(lambda r, c, t: r.iam.list_api_keys(c, t.user, _page), "user"),
    "delete_api_key": Call(lambda r, c, t: r.iam.delete_api_key(c, t.user, t.api_key), ("user", "api_key")),
    "create_group": Call(lambda r, c, t: r.iam.create_group(c, fresh())),
    "get_group": _read(lambda r, c, t: r.iam.get_group(c, t.group), "group"),
    "list_groups": _read(lambda r, c, t: r.iam.list_groups(c, _page)),
    "delete_group": Call(lambda r, c, t: r.iam.delete_group(c, t.group), ("group",)),
    "list_factors": _read(lambda r, c, t: r.iam.list_factors(c, t.user), "user"),
    "remove_factor": Call(lambda r, c, t: r.iam.remove_factor(c, t.user, t.factor), ("user", "factor")),
    "get_sign_in_settings": _read(lambda r, c, t: r.iam.get_sign_in_settings(c)),
    "update_sign_in_settings": Call(lambda r, c, t: r.iam.update_sign_in_settings(c, SignInSettings("medium"))),
    "update_group": Call(lambda r, c, t: r.iam.update_group(c, t.group, "new"), ("group",)),
    "begin_break_glass": Call(
        lambda r, c, t: r.iam.begin_break_glass(c, t.group, t.user, 60, "why"),
        ("group", "user"),
        lambda r, t: r.iam.remove_member(r.admin, t.group, t.user),
    ),
    "create_approval_rule": Call(
        lambda r, c, t: r.iam.create_approval_rule(c, t.compartment, fresh(), RuleTerms(("export",), t.group, 1)),
        ("compartment", "group"),
    ),
    "get_approval_rule": _read(lambda r, c, t: r.iam.get_approval_rule(c, t.rule), "rule"),
    "list_approval_rules": _read(lambda r, c, t: r.iam.list_approval_rules(c, t.compartment, _page), "compartment"),
    "update_approval_rule": Call(
        lambda r, c, t: r.iam.update_approval_rule(approved(r, c, t), t.rule, RuleTerms(("export",), t.group, 1)),
        ("rule", "group"),
    ),
    "delete_approval_rule": Call(lambda r, c, t: r.iam.delete_approval_rule(approved(r, c, t), t.rule), ("rule",)),
    "list_approvals": _read(lambda r, c, t: r.iam.list_approvals(c, _page)),
    "get_approval": _read(lambda r, c, t: r.iam.get_approval(c, t.approval), "approval"),
    "approve": Call(lambda r, c, t: r.iam.approve(c, t.approval), ("approval",), _everybody_approves),
    "reject": Call(lambda r, c, t: r.iam.reject(c, t.approval), ("approval",), _everybody_approves),
    "withdraw_approval": Call(lambda r, c, t: r.iam.withdraw_approval(c, t.approval), ("approval",)),
    "list_break_glass": _read(lambda r, c, t: r.iam.list_break_glass(c, _page, t.group), "group"),
    "end_break_glass": Call(lambda r, c, t: r.iam.end_break_glass(c, t.break_glass), ("break_glass",)),
    "add_member": Call(lambda r, c, t: r.iam.add_member(c, t.group, t.user), ("group", "user")),
    "remove_member": Call(lambda r, c, t: r.iam.remove_member(c, t.group, t.user), ("group", "user")),
    "list_members": _read(lambda r, c, t: r.iam.list_members(c, t.group, _page), "group"),
    "create_dynamic_group": Call(lambda r, c, t: r.iam.create_dynamic_group(c, fresh(), RULE)),
    "get_dynamic_group": _read(lambda r, c, t: r.iam.get_dynamic_group(c, t.dynamic_group), "dynamic_group"),
    "list_dynamic_groups": _read(lambda r, c, t: r.iam.list_dynamic_groups(c, _page)),
    "update_dynamic_group": Call(lambda r, c, t: r.iam.update_dynamic_group(c, t.dynamic_group, RULE), _dynamic),
    "delete_dynamic_group": Call(lambda r, c, t: r.iam.delete_dynamic_group(c, t.dynamic_group), _dynamic),
    "create_network_source": Call(lambda r, c, t: r.iam.create_network_source(c, fresh(), NETWORKS)),
    "get_network_source": _read(lambda r, c, t: r.iam.get_network_source(c, t.network_source), "network_source"),
    "list_network_sources": _read(lambda r, c, t: r.iam.list_network_sources(c, _page)),
    "update_network_source": Call(lambda r, c, t: r.iam.update_network_source(c, t.network_source, NETWORKS), _source),
    "delete_network_source": Call(lambda r, c, t: r.iam.delete_network_source(c, t.network_source), _source),
    "create_tenancy": Call(lambda r, c, t: r.iam.create_tenancy(c, fresh())),
    "get_tenancy": _read(lambda r, c, t: r.iam.get_tenancy(c, t.tenancy), "tenancy"),
    "list_tenancies": _read(lambda r, c, t: r.iam.list_tenancies(c, _page)),
    "create_policy": Call(
        lambda r, c, t: r.iam.create_policy(
            c, t.compartment, fresh(), (f"Allow group Some to inspect keys in compartment id {t.compartment}",)
        ),
        _compartment,
    ),
    "get_policy": _read(lambda r, c, t: r.iam.get_policy(c, t.policy), "policy"),
    "list_policies": _read(lambda r, c, t: r.iam.list_policies(c, t.compartment, _page), "compartment"),
    "update_policy": Call(
        lambda r, c, t: r.iam.update_policy(
            c, t.policy, (f"Allow group Some to inspect keys in compartment id {t.compartment}",)
        ),
        ("policy",),
    ),
    "delete_policy": Call(lambda r, c, t: r.iam.delete_policy(c, t.policy), ("policy",)),
}

VAULTS: Mapping[str, Call] = {
    "create_vault": Call(lambda r, c, t: r.vaults.create_vault(c, t.compartment, fresh()), _compartment),
    "get_vault": _read(lambda r, c, t: r.vaults.get_vault(c, t.vault), "vault"),
    "list_vaults": _read(lambda r, c, t: r.vaults.list_vaults(c, t.compartment, _page), "compartment"),
    "create_key": Call(
        lambda r, c, t: r.vaults.create_key(c, t.compartment, t.vault, fresh()), ("compartment", "vault")
    ),
    "create_wrapping_key": Call(lambda r, c, t: r.vaults.create_wrapping_key(c, t.vault, "AES-256"), ("vault",)),
    "create_version_wrapping_key": Call(lambda r, c, t: r.vaults.create_version_wrapping_key(c, t.key), ("key",)),
    "import_key": Call(
        lambda r, c, t: r.vaults.import_key(c, t.compartment, t.vault, fresh(), wrapped_for(r, c, t.vault)),
        ("compartment", "vault"),
    ),
    "import_version": Call(
        lambda r, c, t: r.vaults.import_version(c, t.key, wrapped_for(r, c, t.vault, t.key)), ("key",)
    ),
    "back_up_key": Call(lambda r, c, t: r.vaults.back_up_key(c, t.key), ("key",)),
    "back_up_vault": Call(lambda r, c, t: r.vaults.back_up_vault(c, t.vault), ("vault",)),
    "restore_key": Call(
        lambda r, c, t: r.vaults.restore_key(c, backup_of(r, c, t), t.vault, t.compartment),
        ("vault", "compartment"),
    ),
    "restore_vault": Call(
        lambda r, c, t: r.vaults.restore_vault(c, backup_of(r, c, t, "vault"), t.compartment), ("compartment",)
    ),
    "inventory": _read(lambda r, c, t: r.vaults.inventory(c, t.key), "key"),
    "vault_inventory": _read(lambda r, c, t: r.vaults.vault_inventory(c, t.vault), "vault"),
    "impact": _read(lambda r, c, t: r.vaults.impact(c, t.key, "delete"), "key"),
    "usage": _read(lambda r, c, t: r.vaults.usage(c, t.key), "key"),
    "get_key": _read(lambda r, c, t: r.vaults.get_key(c, t.key), "key"),
    "list_keys": _read(lambda r, c, t: r.vaults.list_keys(c, t.compartment, _page), "compartment"),
    "list_versions": _read(lambda r, c, t: r.vaults.list_versions(c, t.key, _page), "key"),
    "get_version": _read(lambda r, c, t: r.vaults.get_version(c, t.key, t.version), "key", "version"),
    "update_vault": Call(lambda r, c, t: r.vaults.update_vault(c, t.vault, VaultSettings(key_limit=9)), ("vault",)),
    "lock_vault": Call(lambda r, c, t: r.vaults.lock_vault(c, t.vault, "ReadOnly"), ("vault",)),
    "move_vault": Call(lambda r, c, t: r.vaults.move_vault(c, t.vault, t.compartment), ("vault", "compartment")),
    "schedule_vault_deletion": Call(
        lambda r, c, t: r.vaults.schedule_vault_deletion(c, t.vault, 7, confirm_needed_by=needed(r, t)), ("vault",)
    ),
    "cancel_vault_deletion": Call(
        lambda r, c, t: r.vaults.cancel_vault_deletion(c, t.vault), ("vault",), _vault_pending
    ),
    "delete_vault": Call(lambda r, c, t: r.vaults.delete_vault(c, t.vault, confirm_needed_by=needed(r, t)), ("vault",)),
    "recover_vault": Call(lambda r, c, t: r.vaults.recover_vault(c, t.vault), ("vault",), _vault_deleted),
    "purge_vault": Call(
        lambda r, c, t: r.vaults.purge_vault(c, t.vault, confirm_needed_by=needed(r, t)), ("vault",), _vault_deleted
    ),
    "update_key": Call(lambda r, c, t: r.vaults.update_key(c, t.key, KeySettings(rotation_days=90)), ("key",)),
    "lock_key": Call(lambda r, c, t: r.vaults.lock_key(c, t.key, "CanNotDelete"), ("key",)),
    "move_key": Call(lambda r, c, t: r.vaults.move_key(c, t.key, t.compartment), ("key", "compartment")),
    "schedule_deletion": Call(
        lambda r, c, t: r.vaults.schedule_deletion(c, t.key, 7, confirm_needed_by=needed(r, t)), ("key",)
    ),
    "cancel_deletion": Call(lambda r, c, t: r.vaults.cancel_deletion(c, t.key), ("key",), _pending),
    "delete": Call(lambda r, c, t: r.vaults.delete(c, t.key, confirm_needed_by=needed(r, t)), ("key",)),
    "recover": Call(lambda r, c, t: r.vaults.recover(c, t.key), ("key",), _deleted),
    "purge": Call(lambda r, c, t: r.vaults.purge(c, t.key, confirm_needed_by=needed(r, t)), ("key",), _deleted),
    "enable_version": Call(lambda r, c, t: r.vaults.enable_version(c, t.key, t.version), ("key",), _version_disabled),
    "disable_version": Call(lambda r, c, t: r.vaults.disable_version(c, t.key, t.version), ("key",)),
    "schedule_version_deletion": Call(
        lambda r, c, t: r.vaults.schedule_version_deletion(c, t.key, t.version, 7, confirm_needed_by=needed(r, t)),
        ("key",),
        _rotated,
    ),
    "cancel_version_deletion": Call(
        lambda r, c, t: r.vaults.cancel_version_deletion(c, t.key, t.version), ("key",), _version_pending
    ),
    "disable": Call(lambda r, c, t: r.vaults.disable(c, t.key), ("key",)),
    "enable": Call(lambda r, c, t: r.vaults.enable(c, t.key), ("key",), _disabled),
    "rotate": Call(lambda r, c, t: r.vaults.rotate(c, t.key), ("key",)),
    "encrypt": _read(lambda r, c, t: r.vaults.encrypt(c, t.key, b"words"), "key"),
    "decrypt": _read(lambda r, c, t: r.vaults.decrypt(c, t.key, t.encrypted, ASSOCIATED), "key"),
    "wrap": _read(lambda r, c, t: r.vaults.wrap(c, t.key, b"k" * 32), "key"),
    "unwrap": _read(lambda r, c, t: r.vaults.unwrap(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "rewrap": _read(lambda r, c, t: r.vaults.rewrap(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "generate_data_key": _read(lambda r, c, t: r.vaults.generate_data_key(c, t.key), "key"),
    "sign": _read(lambda r, c, t: r.vaults.sign(c, t.signing, b"words"), "signing"),
    "verify": _read(lambda r, c, t: r.vaults.verify(c, t.signing, b"words", bytes(64)), "signing"),
    "public_key": _read(lambda r, c, t: r.vaults.public_key(c, t.signing), "signing"),
    "random_bytes": _read(lambda r, c, t: r.vaults.random_bytes(c, t.vault, 32), "vault"),
    "encrypt_batch": _read(lambda r, c, t: r.vaults.encrypt_batch(c, t.key, [(b"words", b"")]), "key"),
    "decrypt_batch": _read(lambda r, c, t: r.vaults.decrypt_batch(c, t.key, [(t.encrypted, ASSOCIATED)]), "key"),
    "wrap_batch": _read(lambda r, c, t: r.vaults.wrap_batch(c, t.key, [(b"k" * 32, b"")]), "key"),
    "unwrap_batch": _read(lambda r, c, t: r.vaults.unwrap_batch(c, t.key, [(t.wrapped, ASSOCIATED)]), "key"),
    "rewrap_batch": _read(lambda r, c, t: r.vaults.rewrap_batch(c, t.key, [(t.wrapped, ASSOCIATED)]), "key"),
    "decrypt_any": _read(lambda r, c, t: r.vaults.decrypt_any(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "decrypt_any_batch": _read(
        lambda r, c, t: r.vaults.decrypt_any_batch(c, t.key, [(t.encrypted, ASSOCIATED), (t.wrapped, ASSOCIATED)]),
        "key",
    ),
    "mac": _read(lambda r, c, t: r.vaults.mac(c, t.key, [b"words"]), "key"),
    "verify_mac": _read(lambda r, c, t: r.vaults.verify_mac(c, t.key, [(b"words", bytes(32))]), "key"),
    "sign_batch": _read(lambda r, c, t: r.vaults.sign_batch(c, t.signing, [b"words"]), "signing"),
    "verify_batch": _read(lambda r, c, t: r.vaults.verify_batch(c, t.signing, [(b"words", bytes(64))]), "signing"),
}

DATABASES: Mapping[str, Call] = {
    "create": Call(
        lambda r, c, t: r.databases.create(c, NewSystem(t.compartment, fresh(), t.key)), ("compartment", "key")
    ),
    "get_system": _read(lambda r, c, t: r.databases.get_system(c, t.system), "system"),
    "list_systems": _read(lambda r, c, t: r.databases.list_systems(c, t.compartment, _page), "compartment"),
    "update_system": Call(
        lambda r, c, t: r.databases.update_system(c, t.system, deletion_protection=True), ("system",)
    ),
    "start": Call(lambda r, c, t: r.databases.start(c, t.system), ("system",), _stopped),
    "stop": Call(lambda r, c, t: r.databases.stop(c, t.system), ("system",)),
    "restart": Call(lambda r, c, t: r.databases.restart(c, t.system), ("system",)),
    "delete": Call(lambda r, c, t: r.databases.delete(c, t.system), ("system",)),
    "rotate_data_keys": Call(lambda r, c, t: r.databases.rotate_data_keys(c, t.system), ("system",)),
    "verify": Call(lambda r, c, t: r.databases.verify(c, t.system), ("system",)),
    "change_key": Call(lambda r, c, t: r.databases.change_key(c, t.system, t.key), ("system", "key")),
    "revalidate": _read(lambda r, c, t: r.databases.revalidate(c, t.system), "system"),
    "confirm": Call(lambda r, c, t: r.databases.confirm(c, t.system), ("system",)),
    "delete_identity": Call(lambda r, c, t: r.databases.delete_identity(c, t.system), ("system",)),
    "restore_identity": Call(lambda r, c, t: r.databases.restore_identity(c, t.system), ("system",)),
    "hierarchy": _read(lambda r, c, t: r.databases.hierarchy(c, t.system), "system"),
    "last_fence": _read(lambda r, c, t: r.databases.last_fence(c, t.system), "system"),
    "endpoint": _read(lambda r, c, t: r.databases.endpoint(c, t.system), "system"),
    "map_login": Call(
        lambda r, c, t: r.databases.map_login(c, t.system, NewMapping("group", t.group, roles=("reader",))),
        ("system", "group"),
    ),
    "list_mappings": _read(lambda r, c, t: r.databases.list_mappings(c, t.system), "system"),
    "unmap_login": Call(
        lambda r, c, t: r.databases.unmap_login(c, t.system, t.login_mapping), ("system", "login_mapping")
    ),
    "login_readiness": _read(lambda r, c, t: r.databases.login_readiness(c, t.system), "system"),
    "create_backup": Call(lambda r, c, t: r.databases.create_backup(c, t.system, fresh(), t.key), ("system", "key")),
    "get_backup": _read(lambda r, c, t: r.databases.get_backup(c, t.backup), "backup"),
    "list_backups": _read(lambda r, c, t: r.databases.list_backups(c, t.compartment, _page), "compartment"),
    "delete_backup": Call(lambda r, c, t: r.databases.delete_backup(c, t.backup), ("backup",)),
    "restore": Call(
        lambda r, c, t: r.databases.restore(c, t.backup, NewSystem(t.compartment, fresh(), t.key)),
        ("backup", "compartment", "key"),
    ),
}

JOBS: Mapping[str, Call] = {
    "get_job": _read(lambda r, c, t: r.jobs.get_job(c, t.job), "job"),
    "list_jobs": _read(lambda r, c, t: r.jobs.list_jobs(c, t.compartment, _page), "compartment"),
}

DESK: Mapping[str, Call] = {
    "watch": _read(lambda r, c, t: r.desk.watch(c)),
    "open_store_key": _read(lambda r, c, t: r.desk.open_store_key(c, t.system), "system"),
    "report": Call(lambda r, c, t: r.desk.report(c, Report(t.system, "running")), ("system",)),
}

LOGINS: Mapping[str, Call] = {
    "decide_login": _read(lambda r, c, t: r.logins.decide_login(c, t.system, _nobody), "system"),
    "check_logins": _read(lambda r, c, t: r.logins.check_logins(c, t.system, ()), "system"),
    "report_mappings": Call(
        lambda r, c, t: r.logins.report_mappings(c, t.system, [MappingReport(t.login_mapping)]), ("system",)
    ),
}


def _linked(region: DomainRegion, t: Things) -> None:
    region.federation.link_federated_user(region.admin, t.provider, t.user, fresh())


def _mapping(t: Things) -> ProviderSettings:
    return replace(PROVIDER, mappings=(GroupMapping("dba", t.group),))  # type: ignore[arg-type]


FEDERATION: Mapping[str, Call] = {
    "create_identity_provider": Call(
        lambda r, c, t: r.federation.create_identity_provider(c, fresh(), ISSUER, _mapping(t)), ("group",)
    ),
    "get_identity_provider": _read(lambda r, c, t: r.federation.get_identity_provider(c, t.provider), "provider"),
    "list_identity_providers": _read(lambda r, c, t: r.federation.list_identity_providers(c, _page)),
    "update_identity_provider": Call(
        lambda r, c, t: r.federation.update_identity_provider(c, t.provider, replace(_mapping(t), state="DISABLED")),
        ("provider", "group"),
    ),
    "delete_identity_provider": Call(
        lambda r, c, t: r.federation.delete_identity_provider(c, t.provider), ("provider",)
    ),
    "link_federated_user": Call(
        lambda r, c, t: r.federation.link_federated_user(c, t.provider, t.user, fresh()), ("provider", "user")
    ),
    "list_federated_users": _read(lambda r, c, t: r.federation.list_federated_users(c, t.provider, _page), "provider"),
    "unlink_federated_user": Call(
        lambda r, c, t: r.federation.unlink_federated_user(c, t.provider, t.user), ("provider", "user"), _linked
    ),
}

INSIGHT: Mapping[str, Call] = {
    "explain": _read(lambda r, c, t: r.insight.explain(c, c.principal.id, "KEY_DECRYPT", t.compartment), "compartment"),
    "who_can": _read(lambda r, c, t: r.insight.who_can(c, "use keys", t.key), "key"),
    "simulate": _read(
        lambda r, c, t: r.insight.simulate(
            c, t.compartment, (f"Allow group Some to use keys in compartment id {t.compartment}",)
        ),
        "compartment",
    ),
    "unused": _read(lambda r, c, t: r.insight.unused(c, 30)),
    "duties": _read(lambda r, c, t: r.insight.duties(c)),
}

SERVICES: Mapping[str, Mapping[str, Call]] = {
    "iam": IAM,
    "federation": FEDERATION,
    "vaults": VAULTS,
    "databases": DATABASES,
    "jobs": JOBS,
    "insight": INSIGHT,
    "desk": DESK,
    "logins": LOGINS,
}

# Public, but not for callers: what the services offer one another, and what comes before there is a caller.
INNER: Mapping[str, frozenset[str]] = {
    "iam": frozenset(
        {
            "sign_in",
            "sign_in_with_auth_token",
            "authenticate_auth_token",
            "authenticate",
            "authenticate_for_databases",
            "sign_out",
            "place",
        }
        | {
            "authenticate_by_key",
            "list_sessions",
            "end_session",
            "refresh_token",
            "begin_device_login",
            "login_signed_in",
            "decide_login",
            "redeem_login",
            "exchange_token",
            "public_keys",
        }  # of one's own
        | {"begin_factor", "prove_factor", "enrol_totp", "enrol_webauthn", "confirm_factor"}
        | {"create_recovery_codes", "list_sign_ins", "answer_sign_in"}
    ),
    "logins": frozenset({"knows"}),
    "desk": frozenset({"store_key_waits"}),
    "federation": frozenset({"start", "come_back", "finish", "redirect_uri"}),
    "vaults": frozenset({"new_key", "entry_of", "waits", "protection_of", "vault_at", "key_at", "versions_of"}),
}


def of_people() -> Iterator[tuple[str, Call]]:
    """Every call that a person may make, by name."""
    for service, calls in SERVICES.items():
        if service not in ("desk", "logins"):
            for name, call in calls.items():
                yield f"{service}.{name}", call
