"""Bring your own key: what is wrapped here comes in once, as what it is, and nothing else does."""

import secrets
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, checkvalue, transport
from keystead.crypto.suites import ALGORITHMS, suite_of
from keystead.iam.model import Caller, Principal
from keystead.vault.lifecycle.settings import KeySettings
from keystead.vault.lifecycle.upkeep import Upkeep
from keystead.vault.ports import Stored
from keystead.vault.transfer import importing
from keystead.vault.transfer.importing import Imported, Wrapped, WrappedForm
from keystead.vault.transfer.wrapping import MAX_ATTEMPTS, WrappingKey

RSA = asymmetric.generate(suite_of("RSA-4096"))


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


@pytest.fixture
def vault(region: DomainRegion) -> str:
    return region.vaults.create_vault(region.admin, region.tenancy, "v").id


@pytest.fixture(autouse=True)
def one_rsa_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes seconds."""
    real = asymmetric.generate
    monkeypatch.setattr(
        asymmetric, "generate", lambda suite: Secret(RSA.reveal()) if suite.bits == 4096 else real(suite)
    )


def material(algorithm: str) -> bytes:
    suite = suite_of(algorithm)
    return asymmetric.generate(suite).reveal() if suite.asymmetric else secrets.token_bytes(suite.bits // 8)


def wrapped(key: WrappingKey, raw: bytes, form: WrappedForm = "raw") -> Wrapped:
    return Wrapped(key.id, transport.wrap(key.way, key.public, Secret(raw)), form)


def bring(
    region: DomainRegion,
    vault: str,
    raw: bytes,
    algorithm: str = "AES-256",
    name: str = "mine",
    caller: Caller | None = None,
) -> Imported:
    who = caller or region.admin
    key = region.vaults.create_wrapping_key(who, vault, algorithm)  # type: ignore[arg-type]
    return region.vaults.import_key(who, region.tenancy, vault, name, wrapped(key, raw))


def refused(code: str, run: object, *arguments: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run(*arguments)  # type: ignore[operator]
    assert caught.value.code == code
    assert caught.value.recorded
    return caught.value


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in ("RSA-3072", "RSA-4096")])
def test_material_of_every_algorithm_becomes_a_key(region: DomainRegion, vault: str, algorithm: str) -> None:
    raw = material(algorithm)
    made = bring(region, vault, raw, algorithm)
    assert made.key.algorithm == algorithm
    assert made.version.origin == "imported"
    assert made.check_value == checkvalue.of_material(suite_of(algorithm), Secret(raw))
    region.snapshot.refresh()
    entry = region.snapshot.keyring.get(made.key.id)
    assert entry is not None
    software = region.snapshot.keyring.software
    kept = software.reveal(region.snapshot.keyring.spec(made.key, 1), Stored(entry.versions[1].wrapped))
    assert kept.reveal() == raw
    if "wrap" in suite_of(algorithm).operations:
        blob = region.vaults.wrap(region.admin, made.key.id, b"k" * 32).blob
        assert region.again().vaults.unwrap(region.admin, made.key.id, blob) == b"k" * 32


@pytest.mark.parametrize("way", transport.WAYS)
def test_every_way_leads_in(region: DomainRegion, vault: str, way: transport.Way) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256", way)
    assert (
        region.vaults.import_key(region.admin, region.tenancy, vault, "mine", wrapped(key, bytes(32))).key.current == 1
    )


def test_a_transfer_blob_names_its_wrapping_key(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "EC-P256", "RSA-AES-KWP")
    other = region.vaults.create_wrapping_key(region.admin, vault, "EC-P256", "RSA-AES-KWP")
    inside = transport.wrap("RSA-AES-KWP", key.public, Secret(material("EC-P256")))
    for kid, wrapping_key in ((other.id, key.id), ("https://elsewhere/keys/x", key.id)):
        blob = Wrapped(wrapping_key, byok.write(byok.Transfer(kid, inside, "tool")), "byok")
        refused("InvalidImport", region.vaults.import_key, region.admin, region.tenancy, vault, "mine", blob)
    blob = Wrapped(key.id, byok.write(byok.Transfer(f"https://here/keys/{key.id}", inside, "tool")), "byok")
    assert region.vaults.import_key(region.admin, region.tenancy, vault, "mine", blob).key.algorithm == "EC-P256"


def test_a_wrapping_key_serves_one_import(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    given = wrapped(key, bytes(32))
    region.vaults.import_key(region.admin, region.tenancy, vault, "mine", given)
    seen = refused("WrappingKeyEnded", region.vaults.import_key, region.admin, region.tenancy, vault, "again", given)
    assert "has been used" in seen.message
    with region.store.read() as tx:
        row = tx.vault.wrapping_key(region.tenancy, key.id)
    assert row is not None
    assert (row.state, row.wrapped) == ("USED", b"")


def test_a_wrapping_key_ends_by_time_and_its_private_half_with_it(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256", hours=1)
    region.clock.advance(3601)
    seen = refused(
        "WrappingKeyEnded", region.vaults.import_key, region.admin, region.tenancy, vault, "m", wrapped(key, bytes(32))
    )
    assert "expired" in seen.message
    region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    with region.store.read() as tx:
        row = tx.vault.wrapping_key(region.tenancy, key.id)
    assert row is not None
    assert (row.state, row.wrapped) == ("EXPIRED", b"")


def test_what_does_not_open_and_what_is_no_key_look_alike_and_are_counted(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    good = wrapped(key, bytes(32))
    bad = [
        Wrapped(key.id, b""),
        Wrapped(key.id, good.blob[:-1] + bytes([good.blob[-1] ^ 1])),
        wrapped(key, bytes(31)),
        wrapped(key, b'{"kty": "oct", "k": "AA"}', "jwk"),
    ]
    ask = region.vaults.import_key
    told = {refused("InvalidImport", ask, region.admin, region.tenancy, vault, "m", each).hint for each in bad}
    assert len(told) == 1
    assert len(bad) == MAX_ATTEMPTS - 1
    refused("InvalidImport", ask, region.admin, region.tenancy, vault, "m", bad[0])
    assert "failed" in refused("WrappingKeyEnded", ask, region.admin, region.tenancy, vault, "m", good).message
    with region.store.read() as tx:
        row = tx.vault.wrapping_key(region.tenancy, key.id)
    assert row is not None
    assert (row.state, row.wrapped) == ("SPENT", b"")
    entries = [entry for entry in region.entries() if entry.operation == "ImportKey" and entry.outcome == "refused"]
    assert len(entries) == MAX_ATTEMPTS + 1


def test_it_is_bound_to_caller_vault_and_key(region: DomainRegion, vault: str) -> None:
    region.allow("Allow group Officers to manage key-family in tenancy")
    officer = region.user("officer", "Officers")
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    given = wrapped(key, bytes(32))
    elsewhere = region.vaults.create_vault(region.admin, region.tenancy, "w").id
    mine = region.vaults.create_key(region.admin, region.tenancy, vault, "k")
    region.snapshot.refresh()
    refused("NotFound", region.vaults.import_key, officer, region.tenancy, vault, "m", given)
    refused("WrongWrappingKey", region.vaults.import_key, region.admin, region.tenancy, elsewhere, "m", given)
    refused("WrongWrappingKey", region.vaults.import_version, region.admin, mine.id, given)
    for_version = region.vaults.create_version_wrapping_key(region.admin, mine.id)
    refused(
        "WrongWrappingKey", region.vaults.import_key, region.admin, region.tenancy, vault, "m",
        wrapped(for_version, bytes(32)),
    )  # fmt: skip
    assert region.vaults.import_key(region.admin, region.tenancy, vault, "m", given).key.current == 1


def test_a_new_version_of_a_key_that_is_there(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "k", settings=KeySettings(rotation_days=90))
    region.snapshot.refresh()
    before = region.vaults.wrap(region.admin, key.id, b"k" * 32).blob
    wrapping = region.vaults.create_version_wrapping_key(region.admin, key.id)
    region.vaults.rotate(region.admin, key.id)  # meanwhile
    raw = material("AES-256")
    made = region.vaults.import_version(region.admin, key.id, wrapped(wrapping, raw))
    assert (made.key.current, made.version.number, made.version.origin) == (3, 3, "imported")
    assert made.key.rotated_at == region.clock.now()
    region.snapshot.refresh()
    after = region.vaults.wrap(region.admin, key.id, b"k" * 32)
    assert after.key_version == 3
    assert region.vaults.unwrap(region.admin, key.id, before) == b"k" * 32
    region.vaults.disable(region.admin, key.id)
    another = region.vaults.create_version_wrapping_key(region.admin, key.id)
    refused("KeyNotUsable", region.vaults.import_version, region.admin, key.id, wrapped(another, material("AES-256")))
    region.vaults.enable(region.admin, key.id)
    assert region.vaults.import_version(region.admin, key.id, wrapped(another, material("AES-256"))).key.current == 4


@pytest.mark.parametrize("algorithm", ["AES-256", "EC-P256"])
def test_material_that_was_destroyed_is_not_taken_back(region: DomainRegion, vault: str, algorithm: str) -> None:
    raw = material(algorithm)
    made = bring(region, vault, raw, algorithm)
    bring(region, vault, raw, algorithm, "twin")  # while it lives it is nobody's business
    region.vaults.delete(region.admin, made.key.id)
    region.vaults.purge(region.admin, made.key.id)
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, algorithm)  # type: ignore[arg-type]
    given = wrapped(wrapping, raw)
    refused("MaterialDestroyed", region.vaults.import_key, region.admin, region.tenancy, vault, "back", given)
    assert region.vaults.import_key(
        region.admin, region.tenancy, vault, "other", wrapped(wrapping, material(algorithm))
    )


def test_material_whose_end_has_come_is_not_taken_back_before_it_is_written_down(
    region: DomainRegion, vault: str
) -> None:
    raw, other = material("AES-256"), material("AES-256")
    of_key = bring(region, vault, raw, "AES-256", "of-a-key").key.id
    bring(region, vault, other, "AES-256", "kept")
    region.vaults.update_key(region.admin, of_key, KeySettings(retention_days=7))
    region.vaults.delete(region.admin, of_key)
    region.clock.advance(6 * 86400)
    given = wrapped(region.vaults.create_wrapping_key(region.admin, vault, "AES-256"), raw)
    assert region.vaults.import_key(region.admin, region.tenancy, vault, "still-recoverable", given)
    region.clock.advance(86400)
    given = wrapped(region.vaults.create_wrapping_key(region.admin, vault, "AES-256"), raw)
    refused("MaterialDestroyed", region.vaults.import_key, region.admin, region.tenancy, vault, "back", given)


def test_the_name_is_taken_and_the_wrapping_key_stays(region: DomainRegion, vault: str) -> None:
    bring(region, vault, bytes(32))
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    given = wrapped(wrapping, material("AES-256"))
    refused("NameTaken", region.vaults.import_key, region.admin, region.tenancy, vault, "mine", given)
    assert region.vaults.import_key(region.admin, region.tenancy, vault, "other", given)


def test_nothing_of_the_material_is_recorded(region: DomainRegion, vault: str) -> None:
    raw = material("AES-256")
    made = bring(region, vault, raw)
    found = next(entry for entry in region.entries() if entry.operation == "ImportKey")
    assert found.detail["check_value"] == made.check_value
    told = repr(region.entries())
    assert raw.hex() not in told
    assert repr(raw)[2:-1] not in told
    data = region.path.read_bytes()
    assert raw not in data


def test_a_vault_has_only_so_many_open_ones(region: DomainRegion, vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_OPEN", 3)
    for _ in range(3):
        region.vaults.create_wrapping_key(region.admin, vault, "AES-256", hours=1)
    with pytest.raises(Refusal, match="nobody has used"):
        region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    region.clock.advance(3600)
    assert region.vaults.create_wrapping_key(region.admin, vault, "AES-256")


def test_settings_limit_and_hours_hold(region: DomainRegion, vault: str) -> None:
    for hours in (0, 169):
        with pytest.raises(Refusal, match="between 1 and 168"):
            region.vaults.create_wrapping_key(region.admin, vault, "AES-256", hours=hours)
    wrapping = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    made = region.vaults.import_key(
        region.admin, region.tenancy, vault, "m", wrapped(wrapping, bytes(32)), None,
        KeySettings(operations=("unwrap",), tags={"from": "hsm"}),
    )  # fmt: skip
    assert (made.key.operations, dict(made.key.tags)) == (("unwrap",), {"from": "hsm"})
    assert region.vaults.list_keys(region.admin, region.tenancy, PageRequest(10)).items[0].name == "m"


def test_upkeep_ends_what_nobody_used_in_time(region: DomainRegion, vault: str) -> None:
    key = region.vaults.create_wrapping_key(region.admin, vault, "AES-256", hours=2)
    upkeep = Upkeep(region.guard, region.snapshot, region.store, region.clock, "home")
    service = Caller(Principal(PrincipalId("upkeep"), "service", "upkeep", TenancyId(""), CompartmentId("")), "")
    assert upkeep.run(service) == 0
    region.clock.advance(2 * 3600)
    assert upkeep.run(service) == 1
    assert upkeep.run(service) == 0
    with region.store.read() as tx:
        row = tx.vault.wrapping_key(region.tenancy, key.id)
    assert row is not None
    assert (row.state, row.wrapped) == ("EXPIRED", b"")
    assert [entry.principal_name for entry in region.entries() if entry.operation == "EndWrappingKey"] == ["upkeep"]
