"""Calls of vaults and keys."""

import secrets
from collections.abc import Mapping
from datetime import timedelta

from tests.fakes.calls.call import Call, fresh, read
from tests.fakes.calls.things import ASSOCIATED, PAGE, Things
from tests.fakes.domain import REGION, DomainRegion

from keystead.core.ids import new_id
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, transport
from keystead.crypto.envelope import Binding
from keystead.crypto.suites import suite_of
from keystead.databases.dependants import DatabaseDependants
from keystead.iam.model import Caller
from keystead.vault.insight.inventory import counted
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.transfer.backup_format import Kept, KeptKey, KeptVersion, Kind, seal
from keystead.vault.transfer.importing import Wrapped
from keystead.vault.transfer.wrapping import WrappingKey


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


def needed(region: DomainRegion, t: Things) -> int:
    """By how many the key, or every key of the vault, is needed now; 0 for what does not exist."""
    region.snapshot.refresh()
    ring, survey = region.snapshot.keyring, DatabaseDependants(region.files).survey()
    keys = [entry.key for entry in ring.entries() if t.key == entry.key.id]
    with region.store.read() as tx:
        return len(counted([need for key in keys for need in survey.needs(tx, key)]))


_compartment = ("compartment",)
VAULTS: Mapping[str, Call] = {
    "create_vault": Call(lambda r, c, t: r.vaults.create_vault(c, t.compartment, fresh()), _compartment),
    "get_vault": read(lambda r, c, t: r.vaults.get_vault(c, t.vault), "vault"),
    "list_vaults": read(lambda r, c, t: r.vaults.list_vaults(c, t.compartment, PAGE), "compartment"),
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
    "inventory": read(lambda r, c, t: r.vaults.inventory(c, t.key), "key"),
    "vault_inventory": read(lambda r, c, t: r.vaults.vault_inventory(c, t.vault), "vault"),
    "impact": read(lambda r, c, t: r.vaults.impact(c, t.key, "delete"), "key"),
    "usage": read(lambda r, c, t: r.vaults.usage(c, t.key), "key"),
    "get_key": read(lambda r, c, t: r.vaults.get_key(c, t.key), "key"),
    "list_keys": read(lambda r, c, t: r.vaults.list_keys(c, t.compartment, PAGE), "compartment"),
    "list_versions": read(lambda r, c, t: r.vaults.list_versions(c, t.key, PAGE), "key"),
    "get_version": read(lambda r, c, t: r.vaults.get_version(c, t.key, t.version), "key", "version"),
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
    "encrypt": read(lambda r, c, t: r.vaults.encrypt(c, t.key, b"words"), "key"),
    "decrypt": read(lambda r, c, t: r.vaults.decrypt(c, t.key, t.encrypted, ASSOCIATED), "key"),
    "wrap": read(lambda r, c, t: r.vaults.wrap(c, t.key, b"k" * 32), "key"),
    "unwrap": read(lambda r, c, t: r.vaults.unwrap(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "rewrap": read(lambda r, c, t: r.vaults.rewrap(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "generate_data_key": read(lambda r, c, t: r.vaults.generate_data_key(c, t.key), "key"),
    "sign": read(lambda r, c, t: r.vaults.sign(c, t.signing, b"words"), "signing"),
    "verify": read(lambda r, c, t: r.vaults.verify(c, t.signing, b"words", bytes(64)), "signing"),
    "public_key": read(lambda r, c, t: r.vaults.public_key(c, t.signing), "signing"),
    "random_bytes": read(lambda r, c, t: r.vaults.random_bytes(c, t.vault, 32), "vault"),
    "encrypt_batch": read(lambda r, c, t: r.vaults.encrypt_batch(c, t.key, [(b"words", b"")]), "key"),
    "decrypt_batch": read(lambda r, c, t: r.vaults.decrypt_batch(c, t.key, [(t.encrypted, ASSOCIATED)]), "key"),
    "wrap_batch": read(lambda r, c, t: r.vaults.wrap_batch(c, t.key, [(b"k" * 32, b"")]), "key"),
    "unwrap_batch": read(lambda r, c, t: r.vaults.unwrap_batch(c, t.key, [(t.wrapped, ASSOCIATED)]), "key"),
    "rewrap_batch": read(lambda r, c, t: r.vaults.rewrap_batch(c, t.key, [(t.wrapped, ASSOCIATED)]), "key"),
    "decrypt_any": read(lambda r, c, t: r.vaults.decrypt_any(c, t.key, t.wrapped, ASSOCIATED), "key"),
    "decrypt_any_batch": read(
        lambda r, c, t: r.vaults.decrypt_any_batch(c, t.key, [(t.encrypted, ASSOCIATED), (t.wrapped, ASSOCIATED)]),
        "key",
    ),
    "mac": read(lambda r, c, t: r.vaults.mac(c, t.key, [b"words"]), "key"),
    "verify_mac": read(lambda r, c, t: r.vaults.verify_mac(c, t.key, [(b"words", bytes(32))]), "key"),
    "sign_batch": read(lambda r, c, t: r.vaults.sign_batch(c, t.signing, [b"words"]), "signing"),
    "verify_batch": read(lambda r, c, t: r.vaults.verify_batch(c, t.signing, [(b"words", bytes(64))]), "signing"),
}
