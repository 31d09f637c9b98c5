"""One of each kind of thing in a tenancy."""

from dataclasses import dataclass, fields, replace
from datetime import timedelta

from tests.fakes.domain import REGION, DomainRegion, caller_of
from tests.fakes.factors import known_device
from tests.fakes.oidc import ISSUER

from keystead.core.ids import ApprovalId, CompartmentId, PrincipalId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.databases.creation import NewSystem
from keystead.databases.logins.acts import NewMapping
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.model import Approval, Rule, Term
from keystead.iam.federation.service import ProviderSettings
from keystead.iam.model import Caller, User

PAGE = PageRequest(10)
ASSOCIATED = b"for me"
PROVIDER = ProviderSettings(client_id="keystead", client_secret=Secret(b"shared"))
RULE = "ALL {resource.type = 'mysqldbsystem'}"
NETWORKS = ("192.0.2.0/24",)


def fresh_key() -> str:
    return SigningKey.generate().public.pem().decode()


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
    device: str
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
    device = known_device(region.store, user, region.clock.now())
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
    version = region.vaults.list_versions(caller, key.id, PAGE).items[0].id
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
        auth_token.id, api_key.id, factor.id, device, begun.id, mapping.id, dynamic.id, source.id, tenancy, wrapped,
        encrypted, provider, rule.id, waiting(region, caller, user, rule),
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


def active(region: DomainRegion, system_id: str, **changes: object) -> None:
    """Let a system be ACTIVE with no job under way, as the runner and the host would have brought it about."""
    with region.store.note() as tx:
        system = next(found for found in tx.databases.all_systems() if found.id == system_id)
        changes = {"state": "ACTIVE", "desired": "running", "reason": "", "reason_text": ""} | changes
        assert tx.databases.change(system, replace(system, **changes))  # type: ignore[arg-type]
        tx.jobs.cancel_for(system.tenancy, system.id, region.clock.now())
