"""Identity providers of a tenancy: what is configured, and whom their subjects stand for.

Whoever may map a provider's group into a group of ours can put people there, so that needs the permission to change
the group as well. Disabling or deleting a provider voids at once every token that it led to, and takes back the
memberships that it brought about when it is deleted.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, check_version, not_found, required, stale, taken
from keystead.core.ids import CompartmentId, IdentityProviderId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.crypto import kdf
from keystead.crypto.envelope import Binding, Kek
from keystead.iam.base import user_of
from keystead.iam.directory import Directory
from keystead.iam.federation.model import (
    MAX_MAPPINGS,
    MAX_VALUE,
    FederatedUser,
    GroupChoice,
    GroupMapping,
    IdentityProvider,
    ProviderState,
)
from keystead.iam.federation.ports import Admission, FederationStore, FederationTx, Provider
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Target, User
from keystead.iam.names import check_description, check_name
from keystead.iam.ports import Membership, PasswordHasher, Revocation

_ORIGIN = r"(?P<origin>https?://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?)"
_ISSUER = re.compile(_ORIGIN + r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_CLAIM = re.compile(r"[!-~]{1,200}")
MAX_SECRET = 4096
SEALING_KEY = "identity-providers"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What can be said of a provider when it is made, and changed later. None: as it is."""

    client_id: str | None = None
    client_secret: Secret | None = None
    scopes: tuple[str, ...] | None = None
    origins: tuple[str, ...] | None = None
    ca: str | None = None
    subject_claim: str | None = None
    name_claim: str | None = None
    groups_claim: str | None = None
    just_in_time: bool | None = None
    links_provisioned: bool | None = None
    trusts_factors: bool | None = None
    group_choice: GroupChoice | None = None
    mappings: tuple[GroupMapping, ...] | None = None
    state: ProviderState | None = None
    description: str | None = None

    def changes(self) -> dict[str, Any]:
        """Those that are said, without the secret."""
        names = self.__dataclass_fields__
        return {
            name: getattr(self, name) for name in names if name != "client_secret" and getattr(self, name) is not None
        }


class IdentityProviders:
    """What administrators do with identity providers."""

    def __init__(
        self,
        guard: Guard,
        directory: Directory,
        store: FederationStore,
        people: Admission,
        hasher: PasswordHasher,
        clock: Clock,
        region: str,
        provider: Provider,
        key: Secret,
        base: str,
    ) -> None:
        """`key` seals what is kept of providers; `base` is where browsers find this region, without a path."""
        self._guard = guard
        self._directory = directory
        self._store = store
        self._people = people
        self._hasher = hasher
        self._clock = clock
        self._region = region
        self._outside = provider
        self._sealing = Kek(kdf.subkey(key.reveal(), "sealing"), SEALING_KEY, 1)
        self._deriving = kdf.subkey(key.reveal(), "sign-ins")
        self.base = base.rstrip("/")

    def redirect_uri(self, provider: IdentityProvider) -> str:
        """Where the provider sends people back to: one address for each, so that no answer is taken for another's."""
        return f"{self.base}/keystead/v1/auth/federation/{provider.id}/callback"

    def create_identity_provider(
        self, caller: Caller, name: str, issuer: str, settings: ProviderSettings
    ) -> IdentityProvider:
        """A provider. Raises: Refusal (name taken, an address or claim that cannot be, not permitted)."""
        check_name(name, "identity provider")
        tenancy = caller.principal.tenancy
        new = IdentityProviderId(new_id("identityprovider", self._region))
        made = IdentityProvider(
            new, tenancy, name, "ENABLED", issuer, "", ("openid", "profile", "email"), (), "", "sub",
            "preferred_username", "groups", False, False, False, "all", (), "", self._clock.now(),
        )  # fmt: skip
        made = replace(made, **settings.changes())
        self._require_groups(caller, made.mappings, "CreateIdentityProvider")
        detail = {"issuer": issuer[:200]} | _told(settings)
        entry = self._guard.permit_change(
            caller, "IDENTITY_PROVIDER_CREATE", self._at(made), "CreateIdentityProvider", detail
        )
        checked(made, settings.client_secret)
        with self._store.write(entry) as tx:
            self._living(tx, made)
            if tx.federation.provider_by_name(tenancy, name) is not None:
                raise taken("identity provider", name)
            tx.federation.add_provider(made, self._sealed(made, settings.client_secret or Secret(b"")))
        return made

    def get_identity_provider(self, caller: Caller, provider_id: str) -> IdentityProvider:
        found = self._provider(caller, provider_id)
        self._guard.permit(caller, "IDENTITY_PROVIDER_INSPECT", self._at(found), "GetIdentityProvider")
        return found

    def list_identity_providers(
        self, caller: Caller, page: PageRequest, name: str | None = None
    ) -> Page[IdentityProvider]:
        tenancy = caller.principal.tenancy
        place = Target("identity-providers", tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))
        self._guard.permit(caller, "IDENTITY_PROVIDER_INSPECT", place, "ListIdentityProviders")
        with self._store.read() as tx:
            return cut(tx.federation.providers(tenancy, page, name), page.limit, lambda item: item.name)

    def update_identity_provider(
        self, caller: Caller, provider_id: str, settings: ProviderSettings, if_match: int | None = None
    ) -> IdentityProvider:
        """Change what is said; the issuer stays. Disabled: nobody signs in by it, and what it led to is void."""
        found = self._provider(caller, provider_id)
        changed = replace(found, **settings.changes(), version=found.version + 1)
        new = tuple(each for each in changed.mappings if each not in found.mappings)
        self._require_groups(caller, new, "UpdateIdentityProvider")
        entry = self._guard.permit_change(
            caller, "IDENTITY_PROVIDER_UPDATE", self._at(found), "UpdateIdentityProvider", _told(settings)
        )
        checked(changed, settings.client_secret)
        check_version(found.version, if_match)
        sealed = None if settings.client_secret is None else self._sealed(changed, settings.client_secret)
        with self._store.write(entry, reserve=changed.state == "DISABLED") as tx:
            self._living(tx, replace(changed, mappings=new))
            if not tx.federation.set_provider(changed, found.version, sealed):
                raise stale()
            if changed.state == "DISABLED":
                self._void(tx, found, None)
        return changed

    def delete_identity_provider(self, caller: Caller, provider_id: str, if_match: int | None = None) -> None:
        """Its links, the memberships it brought about and the tokens it led to go with it; users stay."""
        found = self._provider(caller, provider_id)
        entry = self._guard.permit_change(caller, "IDENTITY_PROVIDER_DELETE", self._at(found), "DeleteIdentityProvider")
        check_version(found.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            self._void(tx, found, None)
            for group_id, user_id in tx.federation.provided(found.tenancy, found.id):
                tx.iam.set_membership(Membership(found.tenancy, group_id, user_id, deleted=True))
            if not tx.federation.delete_provider(found):
                raise stale()

    # whom subjects stand for

    def link_federated_user(self, caller: Caller, provider_id: str, user_id: str, subject: str) -> FederatedUser:
        """From now on `subject` at the provider signs in as this user. Needs the right to change the user as well."""
        provider, user = self._provider(caller, provider_id), self._user(caller, user_id)
        person = _at_user(user)
        self._guard.require(caller, "USER_UPDATE", person, "LinkFederatedUser")
        detail = {"user": user.name, "user_id": user.id, "subject": subject[:200]}
        entry = self._guard.permit_change(
            caller, "IDENTITY_PROVIDER_UPDATE", self._at(provider), "LinkFederatedUser", detail, also=(person,)
        )
        if not 0 < len(subject) <= MAX_VALUE or not subject.isprintable():
            raise Refusal("InvalidParameter", f"a subject has 1 to {MAX_VALUE} printable characters")
        made = FederatedUser(provider.tenancy, provider.id, subject, user.id, user.name, self._clock.now(), made=False)
        with self._store.write(entry) as tx:
            known = tx.federation.linked(provider.tenancy, provider.id, subject)
            if known is not None and known.user == user.id:
                return known
            if known is not None:
                raise _linked("this subject is linked already")
            if tx.federation.link_of(provider.tenancy, provider.id, user.id) is not None:
                raise _linked(f"user {user.name!r} is linked to another subject of this provider")
            tx.federation.link(made)
        return made

    def list_federated_users(self, caller: Caller, provider_id: str, page: PageRequest) -> Page[FederatedUser]:
        provider = self._provider(caller, provider_id)
        self._guard.permit(caller, "IDENTITY_PROVIDER_INSPECT", self._at(provider), "ListFederatedUsers")
        with self._store.read() as tx:
            return cut(
                tx.federation.links(provider.tenancy, provider.id, page), page.limit, lambda item: str(item.user)
            )

    def unlink_federated_user(self, caller: Caller, provider_id: str, user_id: str) -> None:
        """The subject signs in as nobody any more; what it brought about for the user is void."""
        parse_id(user_id, "user")
        provider = self._provider(caller, provider_id)
        entry = self._guard.permit_change(
            caller, "IDENTITY_PROVIDER_UPDATE", self._at(provider), "UnlinkFederatedUser", {"user_id": user_id}
        )
        with self._store.write(entry, reserve=True) as tx:
            if not tx.federation.unlink(provider.tenancy, provider.id, user_id):
                raise not_found("user")
            self._void(tx, provider, user_id)
            for group_id in tx.federation.federated(provider.tenancy, provider.id, user_id):
                tx.iam.set_membership(Membership(provider.tenancy, group_id, user_id, deleted=True))

    # within

    def _void(self, tx: FederationTx, provider: IdentityProvider, user_id: str | None) -> None:
        """Every token that the provider led to (for one user, or for all) is void."""
        now = self._clock.now()
        for each in tx.federation.sign_ins(provider.tenancy, provider.id, user_id):
            for subject in {each.token_id, each.session} - {""}:
                tx.iam.revoke(Revocation(provider.tenancy, subject, now))
            if each.code_digest:
                tx.federation.take(each.code_digest)

    def _require_groups(self, caller: Caller, mappings: tuple[GroupMapping, ...], operation: str) -> None:
        for group_id in dict.fromkeys(each.group_id for each in mappings):
            parse_id(group_id, "group")
            with self._store.read() as tx:
                group = required(tx.iam.group(caller.principal.tenancy, group_id), "group")
            attributes = {"group.id": group.id, "group.name": group.name}
            place = (CompartmentId(group.tenancy),)
            target = Target("groups", group.id, group.name, group.tenancy, place, attributes)
            self._guard.require(caller, "GROUP_UPDATE", target, operation)

    def _living(self, tx: FederationTx, provider: IdentityProvider) -> None:
        for group_id in {each.group_id for each in provider.mappings}:
            if tx.iam.group(provider.tenancy, group_id) is None:
                raise not_found("group")

    def _provider(self, caller: Caller, provider_id: str) -> IdentityProvider:
        parse_id(provider_id, "identityprovider")
        with self._store.read() as tx:
            return required(tx.federation.provider(caller.principal.tenancy, provider_id), "identity provider")

    def _user(self, caller: Caller, user_id: str) -> User:
        with self._store.read() as tx:
            return user_of(tx.iam, caller, user_id)

    def _at(self, provider: IdentityProvider) -> Target:
        attributes = {"identity-provider.id": provider.id, "identity-provider.name": provider.name}
        place = (CompartmentId(provider.tenancy),)
        return Target("identity-providers", provider.id, provider.name, provider.tenancy, place, attributes)

    def _sealed(self, provider: IdentityProvider, secret: Secret) -> bytes:
        return self._sealing.seal(secret.reveal(), self._binding(provider))

    def _opened(self, provider: IdentityProvider, sealed: bytes) -> Secret:
        return Secret(self._sealing.open(sealed, self._binding(provider)))

    def _binding(self, provider: IdentityProvider) -> Binding:
        return Binding("identity-provider-secret", provider.tenancy, self._region, provider.id, "")


def checked(provider: IdentityProvider, secret: Secret | None) -> None:
    """Whether a provider can be like that. Raises: Refusal `InvalidParameter`."""
    origin = origin_of(provider.issuer)
    if origin is None or len(provider.issuer) > 500:
        raise _invalid("the issuer is not a URL like https://id.example.com/realm", "plain http is for this machine")
    for each in provider.origins:
        if origin_of(each) != each:
            raise _invalid("an origin is written as https://host or https://host:port")
    if not 0 < len(provider.client_id) <= 500 or not provider.client_id.isprintable():
        raise _invalid("the client id has 1 to 500 printable characters", "the provider gave it to you")
    if secret is not None and len(secret) > MAX_SECRET:
        raise _invalid(f"the client secret has at most {MAX_SECRET} bytes")
    if "openid" not in provider.scopes or len(provider.scopes) > 20:
        raise _invalid("the scopes hold openid, and at most 20 in all")
    if not all(_CLAIM.fullmatch(each) for each in provider.scopes):
        raise _invalid("a scope is a word without spaces")
    claims = (provider.subject_claim, provider.name_claim, provider.groups_claim or "groups")
    if not all(_CLAIM.fullmatch(each) for each in claims):
        raise _invalid("a claim's name has 1 to 200 characters without spaces")
    _check_mappings(provider)
    if len(provider.ca) > 64 * 1024 or (provider.ca and "-----BEGIN CERTIFICATE-----" not in provider.ca):
        raise _invalid("the CA is given as PEM certificates, 64 KiB at most")
    check_description(provider.description)


def _check_mappings(provider: IdentityProvider) -> None:
    if len(provider.mappings) > MAX_MAPPINGS:
        raise _invalid(f"a provider has at most {MAX_MAPPINGS} group mappings")
    for each in provider.mappings:
        if not 0 < len(each.value) <= MAX_VALUE or not each.value.isprintable():
            raise _invalid(f"a group's value has 1 to {MAX_VALUE} printable characters")
        if not 0 <= each.precedence <= 1_000_000:
            raise _invalid("a precedence is between 0 and 1000000")
    if len({(each.value, each.group_id) for each in provider.mappings}) != len(provider.mappings):
        raise _invalid("a value is mapped to the same group twice")


def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL that a provider may have; None when it may not."""
    found = _ISSUER.fullmatch(url)
    if found is None or (url.startswith("http://") and found["host"] not in _LOCAL):
        return None
    return found["origin"]


def _told(settings: ProviderSettings) -> dict[str, str]:
    """What was said, for the audit entry: never the secret."""
    said = {name: str(value)[:300] for name, value in settings.changes().items() if name not in ("mappings", "ca")}
    if settings.mappings is not None:
        said["mappings"] = "; ".join(f"{m.value[:100]} -> {m.group_id}" for m in settings.mappings)[:2000]
    if settings.client_secret is not None:
        said["client_secret"] = "changed"  # noqa: S105 (that it was, not what it is)
    return said


def _at_user(user: User) -> Target:
    attributes = {"user.id": user.id, "user.name": user.name}
    return Target("users", user.id, user.name, user.tenancy, (CompartmentId(user.tenancy),), attributes)


def _linked(why: str) -> Refusal:
    return Refusal("AlreadyLinked", why, hint="unlink first: keystead identity-provider unlink", kind="conflict")


def _invalid(why: str, hint: str = "") -> Refusal:
    return Refusal("InvalidParameter", why, hint=hint)
