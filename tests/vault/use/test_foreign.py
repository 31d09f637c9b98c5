"""Names that stand for ids, one decryption for what was sealed in two ways, and MACs."""

from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal, Unreadable
from keystead.vault.lifecycle.settings import KeySettings


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def made(region: DomainRegion, **given: str) -> tuple[str, str, str]:
    """A compartment `prod/eu`, a vault `v` in it, and a key `k` in that."""
    admin = region.admin
    prod = region.iam.create_compartment(admin, admin.principal.tenancy, "prod")
    region.snapshot.refresh()
    place = region.iam.create_compartment(admin, prod.id, "eu")
    vault = region.vaults.create_vault(admin, place.id, "v")
    return place.id, vault.id, region.vaults.create_key(admin, place.id, vault.id, "k", **given).id  # type: ignore[arg-type]


def absent(region: DomainRegion, path: list[str], name: str) -> None:
    with pytest.raises(Refusal) as refused:
        region.vaults.key_at(region.admin, path, name)
    assert refused.value.kind == "not_found"


def test_a_key_is_found_by_names_and_by_its_id(region: DomainRegion) -> None:
    _, vault, key = made(region)
    for _ in range(2):  # found, and known
        assert region.vaults.key_at(region.admin, ["prod", "eu", "v"], "k") == key
        assert region.vaults.key_at(region.admin, ["PROD", "Eu", "V"], "K") == key
        assert region.vaults.key_at(region.admin, ["prod", "eu", "v"], key) == key
    assert region.vaults.vault_at(region.admin, ["prod", "eu", "v"]).id == vault
    for path in ([], ["v"], ["prod", "v"], ["eu", "v"], ["prod", "eu", "x"], ["", "eu", "v"]):
        absent(region, path, "k")
        absent(region, path, key)
    absent(region, ["prod", "eu", "v"], "l")


def test_a_name_is_believed_only_as_long_as_the_key_bears_it(region: DomainRegion) -> None:
    place, vault, key = made(region)
    other = region.vaults.create_vault(region.admin, place, "w")
    path = ["prod", "eu", "v"]
    assert region.vaults.key_at(region.admin, path, "k") == key
    absent(region, ["prod", "eu", "w"], "k")
    root = region.admin.principal.tenancy
    region.vaults.move_key(region.admin, key, root)
    absent(region, path, "k")
    again = region.vaults.create_key(region.admin, place, vault, "k").id
    assert region.vaults.key_at(region.admin, path, "k") == again
    region.vaults.delete(region.admin, again)
    assert region.vaults.key_at(region.admin, path, "k") == again  # and there it is refused, with the way back
    region.vaults.purge(region.admin, again)
    absent(region, path, "k")
    assert region.vaults.key_at(region.admin, path, region.vaults.create_key(region.admin, place, vault, "k").name)
    region.vaults.move_vault(region.admin, other.id, root)
    assert region.vaults.vault_at(region.admin, ["w"]).id == other.id


def test_one_decryption_opens_data_and_data_keys_as_far_as_it_is_permitted(region: DomainRegion) -> None:
    _, _, key = made(region)
    vaults, admin = region.vaults, region.admin
    data, wrapped = vaults.encrypt(admin, key, b"words", b"a").blob, vaults.wrap(admin, key, b"k" * 32, b"a").blob
    assert vaults.decrypt_any(admin, key, data, b"a") == b"words"
    assert vaults.decrypt_any(admin, key, wrapped, b"a") == b"k" * 32
    for blob, associated in ((data, b""), (wrapped, b"b"), (data[:-1], b"a"), (b"", b"")):
        with pytest.raises(Unreadable):
            vaults.decrypt_any(admin, key, blob, associated)
    batch = vaults.decrypt_any_batch(admin, key, [(data, b"a"), (wrapped, b"x"), (wrapped, b"a")])
    assert (batch.results[0], batch.results[2], batch.failed) == (b"words", b"k" * 32, 1)
    vaults.update_key(admin, key, KeySettings(operations=("unwrap",)))
    assert vaults.decrypt_any(admin, key, wrapped, b"a") == b"k" * 32
    with pytest.raises(Unreadable):
        vaults.decrypt_any(admin, key, data, b"a")
    vaults.update_key(admin, key, KeySettings(operations=("encrypt",)))
    with pytest.raises(Refusal, match="not for decrypt"):
        vaults.decrypt_any(admin, key, data, b"a")


@pytest.mark.parametrize("algorithm", ["AES-128", "AES-256", "ED25519", "EC-P256", "ML-DSA-65"])
def test_macs_go_by_version_and_state(region: DomainRegion, algorithm: str) -> None:
    _, _, key = made(region, algorithm=algorithm)
    vaults, admin = region.vaults, region.admin
    old = vaults.mac(admin, key, [b"one", b"two"])
    assert old.key_version == 1
    vaults.rotate(admin, key)
    new = vaults.mac(admin, key, [b"one"])
    assert new.key_version == 2 and new.results != old.results[:1]
    assert vaults.verify_mac(
        admin, key, [(b"one", old.results[0]), (b"one", old.results[1])], key_version=1
    ).results == [
        True,
        False,
    ]
    assert vaults.verify_mac(admin, key, [(b"one", old.results[0])]).results == [False]
    with pytest.raises(Refusal, match="no version 9"):
        vaults.verify_mac(admin, key, [(b"one", b"")], key_version=9)
    vaults.update_key(admin, key, KeySettings(minimum_version=2))
    with pytest.raises(Refusal, match="below the minimum"):
        vaults.verify_mac(admin, key, [(b"one", old.results[0])], key_version=1)
    vaults.disable(admin, key)
    for act in (lambda: vaults.mac(admin, key, [b"one"]), lambda: vaults.verify_mac(admin, key, [(b"one", b"")])):
        with pytest.raises(Refusal, match="is DISABLED"):
            act()


def test_macs_of_keys_that_are_narrowed_and_of_too_much(region: DomainRegion) -> None:
    _, _, key = made(region)
    vaults, admin = region.vaults, region.admin
    for messages in ([], [b""] * 1001):
        with pytest.raises(Refusal, match="1 to 1000"):
            vaults.mac(admin, key, messages)
    with pytest.raises(Refusal, match="at most 65536 bytes"):
        vaults.mac(admin, key, [bytes(65537)])
    with pytest.raises(Refusal, match="not made by"):
        vaults.mac(admin, key, [b"x"], "MD5")  # type: ignore[arg-type]
    vaults.update_key(admin, key, KeySettings(operations=("encrypt", "decrypt")))
    with pytest.raises(Refusal, match="not for MACs"):
        vaults.mac(admin, key, [b"x"])
