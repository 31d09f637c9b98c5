"""Every move out of usable fences a real server and gives its reason; its reversal, and nothing else, heals it.

One region, one system, one row per way to lose access. What needs more than its own reversal to be told stands beside
it: no answer (test_loss_of_access.py), keys in tokens and other KMS (test_keystores_away.py), sealed (test_sealed.py),
a region restored from a backup (test_region_start.py and tests/server/state/test_rollback.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from tests.faults.region import Region, System
from tests.faults.test_loss_of_access import lose_and_regain

from keystead.databases.model import Reason

pytestmark = pytest.mark.live

NEEDED = "?confirm_needed_by=1"  # what a system needs is destroyed only by who says so


@dataclass(frozen=True, slots=True)
class Place:
    """The region, its only system, and what that system depends on."""

    region: Region
    system: System
    key: str
    elsewhere: str

    def key_act(self, act: str, body: object = None) -> None:
        self.region.post(f"/keys/{self.key}/actions/{act}", body)

    def vault_act(self, act: str, body: object = None) -> None:
        self.region.post(f"/vaults/{self.region.vault}/actions/{act}", body)

    def version_act(self, act: str, body: object = None) -> None:
        """On the version that wraps the store key."""
        number = self.region.system(self.system)["key_version"]
        found = self.region.get(f"/keys/{self.key}/versions")["items"]
        version = next(each["id"] for each in found if each["number"] == number)
        self.region.post(f"/keys/{self.key}/versions/{version}/actions/{act}", body)

    def change_key(self, **settings: object) -> None:
        self.region.call("PATCH", f"/keys/{self.key}", settings)

    def change_vault(self, **settings: object) -> None:
        self.region.call("PATCH", f"/vaults/{self.region.vault}", settings)

    def delete(self, path: str) -> None:
        self.region.call("DELETE", path)

    def ahead(self, seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Region.made() as region:
        key = region.key("finance")
        system = region.create(key, "flights")
        region.fill(system)
        elsewhere = region.post("/compartments", {"parent_id": region.root_compartment, "name": "elsewhere"})["id"]
        yield Place(region, system, key, elsewhere)


@dataclass(frozen=True, slots=True)
class Way:
    """How access is lost, what is then said (a regular expression), and what gives it back."""

    reason: Reason
    text: str
    lose: Callable[[Place], object]
    regain: Callable[[Place], object]


def enabled_after(act: str) -> Callable[[Place], None]:
    """What comes back from deletion is DISABLED: whoever may manage keys enables it, knowingly."""

    def regain(place: Place) -> None:
        place.key_act(act)
        place.key_act("enable")

    return regain


def version_enabled_after(place: Place) -> None:
    place.version_act("cancel-deletion")
    place.version_act("enable")


def rotated_and_raised(place: Place) -> None:
    place.key_act("rotate")
    place.change_key(minimum_version=place.region.get(f"/keys/{place.key}")["current_version"])


def version_to_be_deleted(place: Place) -> None:
    place.key_act("rotate")
    place.version_act(f"schedule-deletion{NEEDED}", {"days": 7})


def policy_again(place: Place) -> None:
    place.region.policy = place.region.allow_systems()


WAYS = {
    "disabled": Way(
        "key_disabled", "key 'finance' is DISABLED since .*by admin",
        lambda at: at.key_act("disable"), lambda at: at.key_act("enable"),
    ),
    "version disabled": Way(
        "version_disabled", r"version \d of key 'finance' is DISABLED since .*by admin",
        lambda at: at.version_act("disable"), lambda at: at.version_act("enable"),
    ),
    "version pending deletion": Way(
        "version_disabled", r"version \d of key 'finance' is PENDING_DELETION since",
        version_to_be_deleted, version_enabled_after,
    ),
    "version below the minimum": Way(
        "version_disabled", r"version \d of key 'finance' is below the minimum version",
        rotated_and_raised, lambda at: at.change_key(minimum_version=1),
    ),
    "pending deletion": Way(
        "key_pending_deletion", "key 'finance' is PENDING_DELETION since .* will be deleted at",
        lambda at: at.key_act(f"schedule-deletion{NEEDED}", {"days": 7}), enabled_after("cancel-deletion"),
    ),
    "deleted": Way(
        "key_deleted", "key 'finance' is DELETED since .*by admin",
        lambda at: at.delete(f"/keys/{at.key}{NEEDED}"), enabled_after("recover"),
    ),
    "expired, by the clock alone": Way(
        "key_expired", "key 'finance' expired at",
        lambda at: at.change_key(expires_at=at.ahead(1)), lambda at: at.change_key(expires_at=None),
    ),
    "not yet valid, until the clock says so": Way(
        "key_not_yet_valid", "key 'finance' may not be used before",
        lambda at: at.change_key(not_before=at.ahead(3600)), lambda at: at.change_key(not_before=at.ahead(1)),
    ),
    "vault pending deletion": Way(
        "vault_deleted", "vault 'prod' of key 'finance' is PENDING_DELETION",
        lambda at: at.vault_act(f"schedule-deletion{NEEDED}", {"days": 7}), lambda at: at.vault_act("cancel-deletion"),
    ),
    "vault deleted": Way(
        "vault_deleted", "vault 'prod' of key 'finance' is DELETED",
        lambda at: at.delete(f"/vaults/{at.region.vault}{NEEDED}"), lambda at: at.vault_act("recover"),
    ),
    "moved out of reach": Way(
        "moved", "key 'finance' was moved out of reach",
        lambda at: at.key_act("move", {"compartment_id": at.elsewhere}),
        lambda at: at.key_act("move", {"compartment_id": at.region.compartment}),
    ),
    "network": Way(
        "network", "vault 'prod' does not trust the service databases",
        lambda at: at.change_vault(networks=["127.0.0.0/8"], trusted_services=[]),
        lambda at: at.change_vault(trusted_services=["databases"]),
    ),
    "no network any more": Way(
        "network", "vault 'prod' does not trust the service databases",
        lambda at: at.change_vault(networks=["127.0.0.0/8"], trusted_services=[]),
        lambda at: at.change_vault(networks=[]),
    ),
    "operation": Way(
        "permission", "not for unwrap", lambda at: at.change_key(operations=["wrap"]),
        lambda at: at.change_key(operations=["wrap", "unwrap"]),
    ),
    "policy deleted": Way(
        "permission", "flights lacks KEY_ASSOCIATE on key 'finance'",
        lambda at: at.delete(f"/policies/{at.region.policy}"), policy_again,
    ),
    "identity deleted": Way(
        "identity_deleted", "the identity of flights is deleted",
        lambda at: at.region.post(f"/db-systems/{at.system.id}/actions/delete-identity"),
        lambda at: at.region.post(f"/db-systems/{at.system.id}/actions/restore-identity"),
    ),
}  # fmt: skip
ELSEWHERE = {"vault_unreachable", "keystore_refused", "keystore_unreachable", "sealed", "unconfirmed", "key_gone"}
"""`key_gone` has no way back: it is said of a key that was never in this tenancy."""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_is_fenced_and_heals(place: Place, way: Way) -> None:
    lose_and_regain(
        place.region, place.system, way.reason, way.text, lambda: way.lose(place), lambda: way.regain(place)
    )


def test_no_reason_is_left_out() -> None:
    reasons = {reason for part in get_args(Reason) for reason in (get_args(part) or (part,))}
    assert reasons == {way.reason for way in WAYS.values()} | ELSEWHERE
