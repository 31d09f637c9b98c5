"""Calls of identity providers."""

from collections.abc import Mapping
from dataclasses import replace

from tests.fakes.calls.call import Call, fresh, read
from tests.fakes.calls.things import PAGE, PROVIDER, Things
from tests.fakes.domain import DomainRegion
from tests.fakes.oidc import ISSUER

from keystead.iam.federation.model import GroupMapping
from keystead.iam.federation.service import ProviderSettings


def _linked(region: DomainRegion, t: Things) -> None:
    region.federation.link_federated_user(region.admin, t.provider, t.user, fresh())


def _mapping(t: Things) -> ProviderSettings:
    return replace(PROVIDER, mappings=(GroupMapping("dba", t.group),))  # type: ignore[arg-type]


FEDERATION: Mapping[str, Call] = {
    "create_identity_provider": Call(
        lambda r, c, t: r.federation.create_identity_provider(c, fresh(), ISSUER, _mapping(t)), ("group",)
    ),
    "get_identity_provider": read(lambda r, c, t: r.federation.get_identity_provider(c, t.provider), "provider"),
    "list_identity_providers": read(lambda r, c, t: r.federation.list_identity_providers(c, PAGE)),
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
    "list_federated_users": read(lambda r, c, t: r.federation.list_federated_users(c, t.provider, PAGE), "provider"),
    "unlink_federated_user": Call(
        lambda r, c, t: r.federation.unlink_federated_user(c, t.provider, t.user), ("provider", "user"), _linked
    ),
}
