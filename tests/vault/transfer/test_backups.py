"""Backups of keys and vaults: they come back whole, in the same trust domain, over nothing that is there."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.core.errors import Refusal, Unreadable
from keystead.core.ids import new_id
from keystead.core.secret import Secret
from keystead.crypto import kdf, stream
from keystead.iam.directory import Directory
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.memory.keyring import Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.service import Vaults
from keystead.vault.transfer.backup_format import FORMAT, Kept, KeptKey, KeptVersion, open_backup, seal
from keystead.vault.transfer.backups import never_backed_up

VECTOR = Path(__file__).parents[2] / "vectors" / "key-backup-v1.json"
DAY = 24 * 3600


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


@pytest.fixture
def vault(region: DomainRegion) -> str:
    return region.vaults.create_vault(region.admin, region.tenancy, "v").id


def new_key(region: DomainRegion, vault: str, name: str = "k", algorithm: Any = "AES-256", **given: Any) -> Key:
    made = region.vaults.create_key(region.admin, region.tenancy, vault, name, algorithm, settings=KeySettings(**given))
    region.snapshot.refresh()
    return made


def purge(region: DomainRegion, key: str) -> None:
    region.vaults.delete(region.admin, key)
    region.vaults.purge(region.admin, key)


def refused(code: str, run: Callable[..., object], *arguments: object, **named: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run(*arguments, **named)
    assert caught.value.code == code
    assert caught.value.recorded
    return caught.value


@pytest.mark.parametrize("gone", ["deleted", "purged", "purged by time"])
def test_what_a_key_sealed_opens_again_after_its_restore(region: DomainRegion, vault: str, gone: str) -> None:
    key = new_key(region, vault, tags={"für": "ü"}, rotation_days=90)
    old = region.vaults.wrap(region.admin, key.id, b"one").blob
    region.vaults.rotate(region.admin, key.id)
    new = region.vaults.wrap(region.admin, key.id, b"two").blob
    made = region.vaults.back_up_key(region.admin, key.id)
    assert made.key.backed_up_at == region.clock.now()
    region.vaults.delete(region.admin, key.id)
    if gone == "purged":
        region.vaults.purge(region.admin, key.id)
    if gone == "purged by time":
        region.clock.advance(91 * DAY)
    back = region.vaults.restore_key(region.admin, made.blob)
    assert (back.key.state, back.key.current, back.warnings) == ("DISABLED", 2, ())
    assert (back.key.id, back.key.name, dict(back.key.tags), back.key.rotation_days) == (key.id, "k", {"für": "ü"}, 90)
    with pytest.raises(Refusal, match="DISABLED"):
        region.vaults.unwrap(region.admin, key.id, old)
    region.vaults.enable(region.admin, key.id)
    other = region.again()
    assert other.vaults.unwrap(region.admin, key.id, old) == b"one"
    assert other.vaults.unwrap(region.admin, key.id, new) == b"two"
    assert other.vaults.rotate(region.admin, key.id).current == 3


@pytest.mark.parametrize(
    "algorithm", ["AES-128", "RSA-2048", "EC-P384", "ED25519", "ML-DSA-65", "HPKE-X25519-MLKEM768"]
)
def test_keys_of_every_kind_come_back(region: DomainRegion, vault: str, algorithm: str) -> None:
    key = new_key(region, vault, algorithm=algorithm)
    signs = algorithm in ("EC-P384", "ED25519", "ML-DSA-65")
    blob = b"" if signs else region.vaults.encrypt(region.admin, key.id, b"words").blob
    public = region.vaults.public_key(region.admin, key.id).pem if algorithm != "AES-128" else ""
    backup = region.vaults.back_up_key(region.admin, key.id).blob
    purge(region, key.id)
    region.vaults.restore_key(region.admin, backup)
    region.vaults.enable(region.admin, key.id)
    if public:
        assert region.vaults.public_key(region.admin, key.id).pem == public
    if signs:
        made = region.vaults.sign(region.admin, key.id, b"words")
        assert region.vaults.verify(region.admin, key.id, b"words", made.signature)
    else:
        assert region.vaults.decrypt(region.admin, key.id, blob) == b"words"


@pytest.mark.parametrize("state", ["ENABLED", "DISABLED", "PENDING_DELETION"])
def test_a_key_that_is_there_is_never_replaced(region: DomainRegion, vault: str, state: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    if state == "DISABLED":
        region.vaults.disable(region.admin, key.id)
    if state == "PENDING_DELETION":
        region.vaults.schedule_deletion(region.admin, key.id)
    before = region.vaults.get_key(region.admin, key.id)
    refused("KeyExists", region.vaults.restore_key, region.admin, blob)
    assert region.vaults.get_key(region.admin, key.id) == before


def test_versions_newer_than_the_backup_are_kept_or_told_of(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    region.vaults.rotate(region.admin, key.id)
    newer = region.vaults.wrap(region.admin, key.id, b"newer").blob
    region.vaults.delete(region.admin, key.id)
    back = region.vaults.restore_key(region.admin, blob)
    assert (back.key.current, back.warnings) == (2, ())
    region.vaults.enable(region.admin, key.id)
    assert region.vaults.unwrap(region.admin, key.id, newer) == b"newer"
    purge(region, key.id)
    back = region.vaults.restore_key(region.admin, blob)
    assert back.key.current == 2
    assert "version 2 is destroyed" in back.warnings[0]
    assert "rotate" in back.warnings[0]
    region.vaults.enable(region.admin, key.id)
    with pytest.raises(Refusal):
        region.vaults.unwrap(region.admin, key.id, newer)
    assert region.vaults.rotate(region.admin, key.id).current == 3
    assert region.vaults.wrap(region.admin, key.id, b"x").key_version == 3


def test_another_tenancy_opens_nothing(region: DomainRegion, vault: str) -> None:
    blob = region.vaults.back_up_key(region.admin, new_key(region, vault).id).blob
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    refused("WrongTrustDomain", region.vaults.restore_key, other, blob)
    # and neither does a header that says otherwise
    forged = blob.replace(region.tenancy.encode(), other.principal.tenancy.encode())
    refused("Unreadable", region.vaults.restore_key, other, forged)


def with_root(region: DomainRegion, directory: Path, root: bytes) -> DomainRegion:
    """The same rows, under another root key: as a region of the same name would have it."""
    there = region.copy(directory)
    empty = Directory()
    snapshot = Snapshot(empty, Keyring(Secret(root), empty, REGION), SqliteFreshness(there.path))
    vaults = Vaults(there.guard, snapshot, there.store, there.clock, REGION)
    return replace(there, snapshot=snapshot, vaults=vaults)


def test_it_opens_where_the_root_key_is_and_nowhere_else(region: DomainRegion, vault: str, tmp_path: Path) -> None:
    key = new_key(region, vault)
    sealed = region.vaults.wrap(region.admin, key.id, b"words").blob
    for name in ("state backup", "elsewhere"):
        (tmp_path / name).mkdir()
    restored = region.copy(tmp_path / "state backup")  # from before the key was backed up
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    purge(restored, key.id)
    restored.vaults.restore_key(region.admin, blob)
    restored.vaults.enable(region.admin, key.id)
    assert restored.vaults.unwrap(region.admin, key.id, sealed) == b"words"
    foreign = with_root(region, tmp_path / "elsewhere", bytes(32))
    foreign.snapshot.refresh()
    refused("Unreadable", foreign.vaults.restore_key, region.admin, blob)


def test_damaged_backups_restore_nothing(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    purge(region, key.id)
    before = region.vaults.get_key(region.admin, key.id)
    backup_key = region.snapshot.keyring.backup_key(region.tenancy)
    for at in range(0, len(blob), 7):
        with pytest.raises(Refusal):
            open_backup(blob[:at], backup_key, region.tenancy, REGION)
        with pytest.raises(Refusal):
            flipped = blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :]
            open_backup(flipped, backup_key, region.tenancy, REGION)
    for bad in (b"", blob[:-1], blob + b"\0", blob + blob):
        refused("Unreadable", region.vaults.restore_key, region.admin, bad)
    assert region.vaults.get_key(region.admin, key.id) == before


def test_it_can_go_into_another_vault_and_compartment_by_another_name(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    purge(region, key.id)
    place = region.iam.create_compartment(region.admin, region.tenancy, "prod")
    private = region.vaults.create_vault(region.admin, place.id, "w", kind="private")
    taken = new_key(region, vault)
    refused("NameTaken", region.vaults.restore_key, region.admin, blob)
    back = region.vaults.restore_key(region.admin, blob, private.id, place.id, "again").key
    assert (back.vault, back.compartment, back.name, taken.name) == (private.id, place.id, "again", "k")
    region.vaults.enable(region.admin, key.id)
    sealed = region.again().vaults.wrap(region.admin, key.id, b"words").blob
    assert region.vaults.unwrap(region.admin, key.id, sealed) == b"words"


def test_nothing_of_the_material_is_in_the_backup_in_clear_nor_recorded(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    kept = open_backup(blob, region.snapshot.keyring.backup_key(region.tenancy), region.tenancy, REGION)
    material = kept.keys[0].versions[0].material
    assert material is not None
    raw = material.reveal()
    assert raw not in blob
    assert raw.hex() not in repr(kept) + repr(region.entries())
    kept.wipe()
    assert len(material) == 0


def test_keys_elsewhere_cannot_be_backed_up_here(region: DomainRegion, vault: str) -> None:
    here, there = new_key(region, vault), new_key(region, vault, "in-token")
    with region.store.note() as tx:
        row = tx.vault.key(region.tenancy, there.id)
        assert row is not None
        tx.vault.change_key(row, replace(row, protection="hsm"))
    assert "in-token" in refused("NotExportable", region.vaults.back_up_key, region.admin, there.id).message
    assert "in-token" in refused("NotExportable", region.vaults.back_up_vault, region.admin, vault).message
    part = region.vaults.back_up_vault(region.admin, vault, leave_out=True)
    assert (part.keys, part.left_out, part.after) == (1, ("in-token",), None)
    assert region.vaults.get_key(region.admin, here.id).backed_up_at == region.clock.now()


@pytest.mark.parametrize("kind", ["shared", "private"])
def test_a_purged_vault_comes_back_with_its_keys(
    region: DomainRegion, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystead.vault.transfer.backups.MAX_PART", 1500)
    vault = region.vaults.create_vault(
        region.admin, region.tenancy, "w", kind=kind, settings=VaultSettings(tags={"a": "b"})
    )
    keys = [new_key(region, vault.id, f"k{number}") for number in range(5)]
    sealed = [region.vaults.wrap(region.admin, key.id, key.name.encode()).blob for key in keys]
    parts, after = [], ""
    while True:
        part = region.vaults.back_up_vault(region.admin, vault.id, after)
        parts.append(part)
        if part.after is None:
            break
        after = part.after
    assert sum(part.keys for part in parts) == 5
    assert len(parts) > 1
    region.vaults.delete_vault(region.admin, vault.id)
    assert "recover" in refused("IllegalState", region.vaults.restore_vault, region.admin, parts[0].blob).hint
    region.vaults.purge_vault(region.admin, vault.id)
    for part in reversed(parts):  # in any order, and twice
        assert region.vaults.restore_vault(region.admin, part.blob).restored == part.keys
        assert region.vaults.restore_vault(region.admin, part.blob).present == part.keys
    found = region.vaults.get_vault(region.admin, vault.id)
    assert (found.state, found.kind, dict(found.tags)) == ("ACTIVE", kind, {"a": "b"})
    other = region.again()
    for key, blob in zip(keys, sealed, strict=True):
        other.vaults.enable(region.admin, key.id)
        assert other.vaults.unwrap(region.admin, key.id, blob) == key.name.encode()


def test_a_vault_that_is_gone_altogether_comes_back(region: DomainRegion, tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    earlier = region.copy(tmp_path / "earlier")
    place = region.iam.create_compartment(region.admin, region.tenancy, "prod")
    vault = region.vaults.create_vault(region.admin, place.id, "w", kind="private")
    key = region.vaults.create_key(region.admin, place.id, vault.id, "k")
    region.snapshot.refresh()
    sealed = region.vaults.wrap(region.admin, key.id, b"words").blob
    part = region.vaults.back_up_vault(region.admin, vault.id)
    back = earlier.vaults.restore_vault(region.admin, part.blob)  # its compartment is not there: the root
    assert (back.vault.compartment, back.restored) == (region.tenancy, 1)
    earlier.vaults.enable(region.admin, key.id)
    assert earlier.vaults.unwrap(region.admin, key.id, sealed) == b"words"


def test_kinds_are_not_mistaken_for_each_other(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    part = region.vaults.back_up_vault(region.admin, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    refused("WrongBackup", region.vaults.restore_key, region.admin, part.blob)
    refused("WrongBackup", region.vaults.restore_vault, region.admin, blob)


def test_who_may_back_up_a_vault_needs_every_key_too(region: DomainRegion, vault: str) -> None:
    new_key(region, vault)
    region.allow("Allow group Keepers to manage vaults in tenancy")
    keeper = region.user("keeper", "Keepers")
    region.snapshot.refresh()
    refused("NotFound", region.vaults.back_up_vault, keeper, vault)
    region.allow("Allow group Keepers to manage keys in tenancy")
    region.snapshot.refresh()
    assert region.vaults.back_up_vault(keeper, vault).keys == 1


def test_the_warning_about_keys_without_a_backup(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    assert "was never backed up" in never_backed_up(key)
    region.clock.advance(60)
    backed_up = region.vaults.back_up_key(region.admin, key.id).key
    assert never_backed_up(backed_up) == ""
    region.clock.advance(60)
    assert "version 2 is in none" in never_backed_up(region.vaults.rotate(region.admin, key.id))
    assert never_backed_up(replace(key, protection="hsm")) == ""
    assert never_backed_up(replace(key, managed_by="system")) == ""


# the format


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
TAGS = st.dictionaries(TEXT, TEXT, max_size=3)


@st.composite
def kept_keys(draw: Any, tenancy: str) -> KeptKey:
    numbers = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=4)))
    made = draw(MOMENTS)
    key = Key(
        id=new_id("key", REGION), tenancy=tenancy, compartment=new_id("compartment", REGION),  # type: ignore[arg-type]
        vault=new_id("vault", REGION), name=draw(TEXT), algorithm="AES-256", state="DISABLED", current=numbers[-1],  # type: ignore[arg-type]
        created_at=made, changed_by="", changed_at=made, operations=draw(st.sampled_from([(), ("wrap", "unwrap")])),
        not_before=draw(st.none() | MOMENTS), expires_at=draw(st.none() | MOMENTS), tags=draw(TAGS),
        rotation_days=draw(st.sampled_from([0, 90])), rotated_at=draw(st.none() | MOMENTS),
        purge_protection=draw(st.booleans()), minimum_version=draw(st.integers(1, 50)),
    )  # fmt: skip
    versions = []
    for number in numbers:
        material = draw(st.none() | st.binary(min_size=32, max_size=32).map(Secret))
        versions.append(
            KeptVersion(
                KeyVersion(
                    new_id("keyversion", REGION), key.id, number, b"", made, public=draw(st.binary(max_size=9)),  # type: ignore[arg-type]
                    state="ENABLED" if material is not None else "DELETED", fingerprint=draw(st.binary(max_size=32)),
                    origin=draw(st.sampled_from(["generated", "imported"])),
                ),
                material,
            )
        )  # fmt: skip
    return KeptKey(key, tuple(versions))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_sealed_is_what_opens(data: st.DataObject) -> None:
    tenancy = new_id("tenancy", REGION)
    made = data.draw(MOMENTS)
    keys = tuple(data.draw(st.lists(kept_keys(tenancy), max_size=3)))
    vault = Vault(
        new_id("vault", REGION), tenancy, new_id("compartment", REGION), data.draw(TEXT), "software", made, "", made,  # type: ignore[arg-type]
        kind=data.draw(st.sampled_from(["shared", "private"])), networks=("10.0.0.0/8",), tags=data.draw(TAGS),
    )  # fmt: skip
    kept = Kept("vault", tenancy, REGION, made, keys, vault)  # type: ignore[arg-type]
    key = Secret(bytes(32))
    back = open_backup(seal(kept, key), key, tenancy, REGION)
    expected = tuple(replace(each, key=replace(each.key, changed_at=made, backed_up_at=made)) for each in keys)
    assert back == replace(kept, keys=expected)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_backup_are_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        open_backup(data, Secret(bytes(32)), "t", REGION)


LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | TEXT
MEMBERS = st.sampled_from(["vault", "keys", "id", "versions"])


@given(
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=60)
def test_content_that_does_not_fit_is_unreadable(content: Any) -> None:
    fields: dict[str, Any] = {"format": FORMAT, "version": 1, "kind": "key", "tenancy": "t", "region": REGION}
    blob = b"".join(stream.encrypt_stream(bytes(32), fields, (json.dumps(content).encode(),)))
    with pytest.raises(Unreadable):
        open_backup(blob, Secret(bytes(32)), "t", REGION)


def test_the_golden_backup_opens_for_ever() -> None:
    vector = json.loads(VECTOR.read_text())
    kept = open_backup(
        base64.b64decode(vector["blob"]),
        Secret(kdf.subkey(bytes.fromhex(vector["key_backup_subkey"]), "tenancy", vector["tenancy"].encode())),
        vector["tenancy"],
        vector["region"],
    )
    key = kept.keys[0].key
    assert (kept.kind, key.id, key.name, key.current) == ("key", vector["id"], "finance", 2)
    opened = [each.material.reveal().hex() if each.material else None for each in kept.keys[0].versions]
    assert opened == vector["materials"]
    assert dict(key.tags) == {"für": "ü"}


def test_versions_that_have_their_material_are_not_touched(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    with region.store.read() as tx:
        before = tx.vault.versions(region.tenancy, key.id)
    region.vaults.disable_version(region.admin, key.id, before[0].id)
    region.vaults.delete(region.admin, key.id)
    region.vaults.restore_key(region.admin, blob)
    with region.store.read() as tx:
        after = tx.vault.versions(region.tenancy, key.id)
    assert after[0].wrapped == before[0].wrapped
    assert after[0].state == "DISABLED"
