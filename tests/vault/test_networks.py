"""From where a vault may be reached: the rule against a naive one, and that a refusal looks exactly like absence."""

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.model import Caller, Principal
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.networks import Fence, checked_networks

ALL = PageRequest(100)
HERE = "192.0.2.7"
NETWORKS = ("192.0.2.0/24", "2001:db8::/32")

v4 = st.integers(0, 2**32 - 1)
v6 = st.integers(0, 2**128 - 1)


def caller_from(source: str, kind: str = "user", name: str = "somebody") -> Caller:
    tenancy = TenancyId(new_id("tenancy", "home"))
    return Caller(
        Principal(PrincipalId(new_id("user", "home")), kind, name, tenancy, CompartmentId(tenancy)),  # type: ignore[arg-type]
        "r",
        source,
    )


def bits(address: int, prefix: int, width: int) -> str:
    return format(address, f"0{width}b")[:prefix]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_address_is_inside_when_its_first_bits_are_those_of_the_network(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from((32, 128)))
    numbers = v4 if width == 32 else v6
    base, prefix = data.draw(numbers), data.draw(st.integers(0, width))
    near = base ^ data.draw(st.integers(0, 2 ** data.draw(st.integers(0, width)) - 1))
    shape = (
        (ipaddress.IPv4Network, ipaddress.IPv4Address)
        if width == 32
        else (ipaddress.IPv6Network, ipaddress.IPv6Address)
    )
    network = shape[0]((base, prefix), strict=False)
    source = shape[1](near)
    mapped = width == 128 and (source.ipv4_mapped is not None or ipaddress.IPv6Address(base).ipv4_mapped is not None)  # type: ignore[union-attr]
    fence = Fence("v", checked_networks((str(network),)), ())
    if not mapped:
        assert (fence.why_not(caller_from(str(source))) == "") is (
            bits(near, prefix, width) == bits(base, prefix, width)
        )


@settings(max_examples=80, deadline=None)
@given(address=v4, prefix=st.integers(0, 32), other=v4)
def test_an_ipv4_address_is_the_same_over_ipv6(address: int, prefix: int, other: int) -> None:
    network = ipaddress.IPv4Network((address, prefix), strict=False)
    as_v6 = f"::ffff:{network.network_address}/{prefix + 96}"
    plain, written = Fence("v", checked_networks((str(network),)), ()), Fence("v", checked_networks((as_v6,)), ())
    for source in (str(ipaddress.IPv4Address(other)), f"::ffff:{ipaddress.IPv4Address(other)}"):
        inside = plain.why_not(caller_from(source)) == ""
        assert inside is (ipaddress.IPv4Address(other) in network)
        assert inside is (written.why_not(caller_from(source)) == "")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_what_is_no_address_passes_nowhere(source: str) -> None:
    fence = Fence("v", ("0.0.0.0/0", "::/0"), ())
    try:
        ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        if source not in ("private", "local") and not source.startswith("private "):
            assert fence.why_not(caller_from(source))


@pytest.mark.parametrize("source", ["private", "private 10.0.0.9", "local"])
def test_the_private_listener_and_the_machines_own_sockets_pass_everywhere(source: str) -> None:
    assert Fence("v", ("192.0.2.0/24",), ()).why_not(caller_from(source)) == ""
    assert Fence("v", ("private",), ()).why_not(caller_from(source)) == ""
    assert Fence("v", ("private",), ()).why_not(caller_from("127.0.0.1"))


def test_a_zone_of_an_address_is_not_part_of_it() -> None:
    assert Fence("v", ("fe80::/10",), ()).why_not(caller_from("fe80::1%eth0")) == ""


@pytest.mark.parametrize("text", ["", "x", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::1/32", "Private", "10.0.0.0/8 "])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="is not a network") as found:
        checked_networks((text,))
    assert "192.0.2.0/24" in found.value.hint


def test_services_of_the_region_always_pass_and_resources_while_theirs_is_trusted() -> None:
    fence, shut = Fence("v", ("private",), ("databases",)), Fence("v", ("private",), ())
    system = caller_from("unix", "mysqldbsystem", "flights")
    assert fence.why_not(system) == "" and shut.why_not(system) == "vault 'v' does not trust the service databases"
    assert shut.why_not(caller_from("", "service", "upkeep")) == ""


# in a region


class Place:
    """A vault with networks, a key in it, and somebody who comes from elsewhere and may do everything."""

    def __init__(self, directory: Path) -> None:
        self.region: DomainRegion = make_region(directory)
        self.inside = replace(self.region.admin, source=HERE)
        self.outside = replace(self.region.admin, source="203.0.113.9")
        vaults = self.region.vaults
        self.vault = vaults.create_vault(
            self.inside, self.region.tenancy, "v", settings=VaultSettings(networks=NETWORKS)
        ).id
        self.region.snapshot.refresh()
        self.key = vaults.create_key(self.inside, self.region.tenancy, self.vault, "k").id


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


Act = Callable[[Place, Caller, str, str], object]
ACTS: dict[str, Act] = {
    "GetKey": lambda at, who, key, vault: at.region.vaults.get_key(who, key),
    "ListKeyVersions": lambda at, who, key, vault: at.region.vaults.list_versions(who, key, ALL),
    "Encrypt": lambda at, who, key, vault: at.region.vaults.encrypt(who, key, b"x"),
    "EncryptBatch": lambda at, who, key, vault: at.region.vaults.encrypt_batch(who, key, [(b"x", b"")]),
    "Decrypt": lambda at, who, key, vault: at.region.vaults.decrypt(who, key, b"x"),
    "Sign": lambda at, who, key, vault: at.region.vaults.sign(who, key, b"x"),
    "GetPublicKey": lambda at, who, key, vault: at.region.vaults.public_key(who, key),
    "RotateKey": lambda at, who, key, vault: at.region.vaults.rotate(who, key),
    "DisableKey": lambda at, who, key, vault: at.region.vaults.disable(who, key),
    "DeleteKey": lambda at, who, key, vault: at.region.vaults.delete(who, key),
    "UpdateKey": lambda at, who, key, vault: at.region.vaults.update_key(who, key, KeySettings(tags={"a": "b"})),
    "AssociateKey": lambda at, who, key, vault: at.region.associations.allow(who, key, "AssociateKey"),
    "GetVault": lambda at, who, key, vault: at.region.vaults.get_vault(who, vault),
    "UpdateVault": lambda at, who, key, vault: at.region.vaults.update_vault(who, vault, VaultSettings(networks=())),
    "LockVault": lambda at, who, key, vault: at.region.vaults.lock_vault(who, vault, "ReadOnly"),
    "DeleteVault": lambda at, who, key, vault: at.region.vaults.delete_vault(who, vault),
    "CreateKey": lambda at, who, key, vault: at.region.vaults.create_key(who, at.region.tenancy, vault, "new"),
    "GenerateRandom": lambda at, who, key, vault: at.region.vaults.random_bytes(who, vault, 8),
}  # fmt: skip


def refusal(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as found:
        act()
    return found.value


@pytest.mark.parametrize("name", ACTS)
def test_from_elsewhere_it_looks_as_if_it_did_not_exist(place: Place, name: str) -> None:
    act, region = ACTS[name], place.region
    before = len(region.entries())
    hidden = refusal(lambda: act(place, place.outside, place.key, place.vault))
    new = region.entries()[before:]
    absent = refusal(lambda: act(place, place.outside, new_id("key", "home"), new_id("vault", "home")))
    for part in ("code", "message", "hint", "kind"):
        assert getattr(hidden, part) == getattr(absent, part)
    assert hidden.kind == "not_found" and hidden.recorded
    assert [entry.code for entry in new] == ["NotReachableFromThere"]
    assert (new[0].operation, new[0].outcome, new[0].source) == (name, "refused", "203.0.113.9")
    assert new[0].reason == "vault 'v' may not be reached from 203.0.113.9"


def test_lists_leave_out_what_is_not_reached(place: Place) -> None:
    vaults, tenancy = place.region.vaults, place.region.tenancy
    other = vaults.create_vault(place.inside, tenancy, "open")
    vaults.create_key(place.inside, tenancy, other.id, "other")
    assert [key.name for key in vaults.list_keys(place.inside, tenancy, ALL).items] == ["k", "other"]
    assert [key.name for key in vaults.list_keys(place.outside, tenancy, ALL).items] == ["other"]
    assert [vault.name for vault in vaults.list_vaults(place.outside, tenancy, ALL).items] == ["open"]
    assert vaults.list_keys(place.outside, tenancy, ALL, "k").items == []


def test_from_inside_everything_goes_and_a_change_holds_from_the_next_request_on(place: Place) -> None:
    vaults = place.region.vaults
    sealed = vaults.encrypt(place.inside, place.key, b"x").blob
    assert vaults.decrypt(replace(place.inside, source="::ffff:192.0.2.8"), place.key, sealed) == b"x"
    vaults.update_vault(place.inside, place.vault, VaultSettings(networks=("192.0.2.7/32",)))
    assert (
        refusal(lambda: vaults.decrypt(replace(place.inside, source="192.0.2.8"), place.key, sealed)).code == "NotFound"
    )
    vaults.update_vault(place.inside, place.vault, VaultSettings(networks=()))
    assert vaults.decrypt(place.outside, place.key, sealed) == b"x"


def test_nobody_shuts_himself_out(place: Place) -> None:
    vaults = place.region.vaults
    shut = VaultSettings(networks=("10.0.0.0/8",))
    found = refusal(lambda: vaults.update_vault(place.inside, place.vault, shut))
    assert (found.code, HERE in found.message) == ("ShutsYouOut", True)
    assert (
        refusal(lambda: vaults.create_vault(place.inside, place.region.tenancy, "w", settings=shut)).code == found.code
    )
    assert vaults.get_vault(place.inside, place.vault).networks == NETWORKS
    local = replace(place.inside, source="local")
    assert vaults.update_vault(local, place.vault, shut).networks == ("10.0.0.0/8",)
    assert refusal(lambda: vaults.get_vault(place.inside, place.vault)).code == "NotFound"
    vaults.update_vault(local, place.vault, VaultSettings(networks=NETWORKS))


def test_database_systems_are_trusted_until_that_is_switched_off(place: Place) -> None:
    region = place.region
    region.allow("Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'")
    region.snapshot.refresh()
    from tests.vault.use.test_association import a_system  # a resource with an identity

    system = a_system(region, "flights", region.tenancy)
    sealed = region.associations.seal(system, place.key, Secret(bytes(32)), "store-key", "r").blob
    assert region.associations.access(system.principal, place.key).granted
    region.vaults.update_vault(place.inside, place.vault, VaultSettings(trusted_services=()))
    lost = region.associations.access(system.principal, place.key)
    assert (lost.granted, lost.loss, lost.text) == (False, "network", "vault 'v' does not trust the service databases")
    assert lost.since is not None
    found = refusal(lambda: region.associations.open(system, place.key, sealed, "store-key", "r"))
    assert (found.code, found.recorded) == ("NotReachableFromThere", True)
    region.vaults.update_vault(place.inside, place.vault, VaultSettings(trusted_services=("databases",)))
    assert region.associations.access(system.principal, place.key).granted
    assert region.associations.open(system, place.key, sealed, "store-key", "r").reveal() == bytes(32)


def test_a_service_that_does_not_exist_cannot_be_trusted(place: Place) -> None:
    wrong = VaultSettings(trusted_services=("storage",))
    found = refusal(lambda: place.region.vaults.update_vault(place.inside, place.vault, wrong))
    assert (found.code, found.hint) == ("InvalidParameter", "there are: databases")
