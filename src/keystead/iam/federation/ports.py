"""What federation needs from outside: its rows, and a way to ask a provider."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keystead.audit.model import Entry
from keystead.core.ids import GroupId
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.factors.ports import ProvidedRows
from keystead.iam.federation.model import FederatedSignIn, FederatedUser, IdentityProvider
from keystead.iam.model import Caller, IssuedToken, User
from keystead.iam.ports import IamRows


class FederationRows(ProvidedRows, Protocol):
    """Federation's rows in one transaction. Updates are compare-and-set and say whether they took place."""

    def add_provider(self, provider: IdentityProvider, sealed_secret: bytes) -> None: ...
    def provider(self, tenancy: str, provider_id: str) -> IdentityProvider | None: ...
    def provider_by_name(self, tenancy: str, name: str) -> IdentityProvider | None: ...
    def providers(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[IdentityProvider]: ...
    def sealed_secret(self, tenancy: str, provider_id: str) -> bytes: ...
    def set_provider(self, provider: IdentityProvider, expected: int, sealed_secret: bytes | None) -> bool: ...
    def delete_provider(self, provider: IdentityProvider) -> bool: ...

    def link(self, linked: FederatedUser) -> None: ...
    def linked(self, tenancy: str, provider_id: str, subject: str) -> FederatedUser | None: ...
    def link_of(self, tenancy: str, provider_id: str, user_id: str) -> FederatedUser | None: ...
    def links(self, tenancy: str, provider_id: str, page: PageRequest) -> Sequence[FederatedUser]: ...
    def unlink(self, tenancy: str, provider_id: str, user_id: str) -> bool: ...

    def memberships(self, tenancy: str, user_id: str, now: datetime) -> frozenset[str]:
        """The groups a user is in now, whoever put them there."""
        ...

    def federated(self, tenancy: str, provider_id: str, user_id: str) -> frozenset[str]:
        """Those of them that the provider put them into."""
        ...

    def provided(self, tenancy: str, provider_id: str) -> Sequence[tuple[str, str]]:
        """Every (group, user) that the provider brought about."""
        ...

    def mark(self, tenancy: str, provider_id: str, group_id: str, user_id: str) -> None:
        """The membership that was just set is the provider's doing, until it is set again."""
        ...

    def begin(self, sign_in: FederatedSignIn) -> bool:
        """False: this sign-in has come back before."""
        ...

    def returned(self, sign_in: FederatedSignIn) -> bool: ...
    def take(self, code_digest: bytes) -> FederatedSignIn | None: ...
    def sign_ins(self, tenancy: str, provider_id: str, user_id: str | None) -> Sequence[FederatedSignIn]: ...
    def forget_before(self, moment: datetime) -> None: ...


class FederationTx(Protocol):
    """A transaction as federation sees it."""

    @property
    def iam(self) -> IamRows: ...

    @property
    def federation(self) -> FederationRows: ...

    @property
    def provisioning(self) -> "ProvisioningRows": ...


class Admission(Protocol):
    """The end of every sign-in (`keystead.iam.service.Iam` has it)."""

    def admit_provided(
        self, caller: Caller, came: FederatedSignIn, provider: str, device: str | None, began: datetime
    ) -> IssuedToken:
        """Raises: FactorRequired; Refusal `NotAuthenticated`."""
        ...


class FederationStore(Protocol):
    """Where it is kept. See `IamStore`."""

    def read(self) -> AbstractContextManager[FederationTx]: ...
    def write(self, *entries: Entry, reserve: bool = False) -> AbstractContextManager[FederationTx]: ...
    def note(self) -> AbstractContextManager[FederationTx]: ...


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery), as far as it matters."""

    authorization_endpoint: str
    says_issuer: bool  # with every answer (RFC 9207)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a provider gave for a code: claims whose signature holds and which are not looked at yet.

    `access_digest` is the left half of the hash of the access token by the ID token's algorithm, as base64url.
    """

    claims: Mapping[str, object]
    access_digest: str
    access_token: Secret = field(repr=False)


class Provider(Protocol):
    """An OpenID Connect provider, asked over the network.

    Raises (each method):
        Refusal: `ProviderUnavailable`, `ProviderUnusable`, or `SignInRefused`; never anything it said.
    """

    def metadata(self, provider: IdentityProvider, /) -> Metadata: ...

    def redeem(
        self, provider: IdentityProvider, secret: Secret, code: str, verifier: str, redirect_uri: str, /
    ) -> Redeemed:
        """Exchange the code and check the ID token's signature against the provider's keys."""
        ...

    def user_info(self, provider: IdentityProvider, access_token: Secret, /) -> Mapping[str, object]:
        """What it says of who the access token is for; empty where it has no such endpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What a provisioning client has said of a user or group beyond what ours have; JSON text, `{}` when nothing."""

    tenancy: str
    id: str
    kind: str
    external_id: str
    attributes: str
    created_at: datetime
    changed_at: datetime


class ProvisioningRows(Protocol):
    """What provisioning needs beside identity's own rows."""

    def described(self, tenancy: str, item_id: str) -> Provisioned | None: ...
    def all_described(self, tenancy: str, kind: str) -> Sequence[Provisioned]: ...
    def describe(self, item: Provisioned) -> None: ...
    def forget(self, tenancy: str, item_id: str) -> None: ...
    def rename_user(self, user: User, name: str) -> bool: ...
    def rename_group(self, tenancy: str, group_id: GroupId, version: int, name: str) -> bool: ...
    def groups_of_all(self, tenancy: str, group_id: str = "") -> Sequence[tuple[str, str]]:
        """Every (group, user) for good; of one group, or of all."""
        ...
