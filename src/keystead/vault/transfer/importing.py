"""Bring your own key: material made elsewhere becomes a key, or a new version of one. It never travels in clear.

    1. CreateWrappingKey   a key pair for this one import; the public half goes to whoever has the material
    2. wrapped there       by crypto/transport, in the CLI or in whatever made the key; no network is needed
    3. ImportKey           unwrapped here, checked, kept by the keystore; the wrapping key ends in the same transaction

What comes back has a key-check value (crypto/checkvalue), which whoever has the material can work out too.

Material that was destroyed here once, as a key or as a version, is not taken back: it is known by its fingerprint.
What does not open with the wrapping key and what opens but is no sound key of the algorithm is refused alike.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from keystead.audit.model import Entry as AuditEntry
from keystead.core.errors import Refusal, Unreadable, check_version, stale, taken
from keystead.core.ids import KeyId, VaultId, WrappingKeyId, new_id, parse_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, checkvalue, portable, transport
from keystead.crypto.envelope import Binding
from keystead.crypto.suites import Algorithm, suite_of
from keystead.crypto.transport import Way
from keystead.iam.model import Caller, Target
from keystead.iam.names import check_name
from keystead.vault.keys import KeyActs, check_place, check_room, check_rotatable
from keystead.vault.lifecycle.rotation import rotated
from keystead.vault.lifecycle.settings import KeySettings
from keystead.vault.lifecycle.table import key_as_of, version_as_of
from keystead.vault.model import Key, KeyVersion, Protection
from keystead.vault.ports import VaultTx
from keystead.vault.transfer.wrapping import (
    DEFAULT_HOURS,
    MAX_OPEN,
    WrappingKey,
    check_open,
    expired,
    expiry,
    missed,
    used,
)

NO_SETTINGS = KeySettings()
# How what is wrapped may be written. What a password protects is opened where its owner is, and nowhere else.
WrappedForm = Literal["raw", "der", "pem", "jwk", "byok"]


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Material on its way: for which wrapping key, wrapped how. `form` "byok": `blob` is a whole transfer blob."""

    wrapping_key: str
    blob: bytes = field(repr=False)
    form: WrappedForm = "raw"


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made of it. `check_value`: of the material."""

    key: Key
    version: KeyVersion
    check_value: str


@dataclass(frozen=True, slots=True)
class _Opened:
    """Material, unwrapped and checked."""

    row: WrappingKey
    material: Secret
    fingerprint: bytes
    check_value: str


class Imports(KeyActs):
    """Imports keys and versions."""

    def create_wrapping_key(
        self,
        caller: Caller,
        vault: str,
        algorithm: Algorithm,
        way: Way = "HPKE-X25519-MLKEM768",
        hours: int = DEFAULT_HOURS,
    ) -> WrappingKey:
        """A wrapping key for a new key of `algorithm` in a vault. RSA takes up to seconds to make."""
        home, at_vault = self._vault(caller, vault)
        detail = {"algorithm": algorithm, "way": way}
        record = self._guard.permit_change(caller, "VAULT_IMPORT_KEY", at_vault, "CreateWrappingKey", detail)
        check_room(home)
        return self._new_wrapping_key(caller, record, home.id, KeyId(""), algorithm, way, hours)

    def create_version_wrapping_key(
        self, caller: Caller, key_id: str, way: Way = "HPKE-X25519-MLKEM768", hours: int = DEFAULT_HOURS
    ) -> WrappingKey:
        """A wrapping key for a new version of a key."""
        entry = self._entry(caller, key_id)
        key = entry.key
        record = self._guard.permit_change(caller, "KEY_IMPORT", entry.target, "CreateVersionWrappingKey", {"way": way})
        return self._new_wrapping_key(caller, record, key.vault, key.id, key.algorithm, way, hours)

    def import_key(
        self,
        caller: Caller,
        compartment: str,
        vault: str,
        name: str,
        wrapped: Wrapped,
        protection: Protection | None = None,
        settings: KeySettings = NO_SETTINGS,
    ) -> Imported:
        """A new enabled key whose first version is the caller's own material. `protection` None: that of its vault.

        Raises:
            Refusal: not permitted; NotFound, WrongWrappingKey, WrappingKeyEnded; InvalidImport (it does not open, or
                is no such key); MaterialDestroyed; name taken; what the keystore refuses.
            Unavailable: the keystore does not answer; the wrapping key can be used again.
        """
        check_name(name, "key")  # first: what is refused by its words alone tells nothing about the vault
        place = self._place(caller, compartment)
        home, at_vault = self._vault(caller, vault)
        new = KeyId(new_id("key", self._region))
        target = Target("keys", new, name, place.tenancy, place.path, {"key.name": name, "vault.id": home.id})
        self._guard.require(caller, "VAULT_IMPORT_KEY", at_vault, "ImportKey")
        detail = {"wrapping_key": wrapped.wrapping_key, "form": wrapped.form}
        record = self._guard.permit_change(caller, "KEY_IMPORT", target, "ImportKey", detail)
        check_room(home)
        opened = self._unwrapped(caller, target, "ImportKey", wrapped, home.id, "")
        try:
            algorithm = opened.row.algorithm
            key = self._fresh(caller, place, home.id, name, new, algorithm, protection or home.protection)
            key = settings.applied(key, key.created_at)
            first = self._imported(key, 1, opened)
            try:
                with self._store.write(_told(record, opened)) as tx:
                    if tx.vault.keys(place.tenancy, place.id, PageRequest(1), name):
                        raise taken("key", name)
                    self._check_vault(tx, home)
                    self._use_up(tx, caller, opened)
                    tx.vault.add_key(key, first)
            except Refusal:  # which is sure to have written nothing
                self._forget(key, first)
                raise
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_IMPORT", target, "ImportKey", refusal)
        finally:
            opened.material.wipe()
        self._scrub()
        return Imported(key, first, opened.check_value)

    def import_version(self, caller: Caller, key_id: str, wrapped: Wrapped, if_match: int | None = None) -> Imported:
        """The caller's own material as a key's new current version. Raises: as `import_key`."""
        entry = self._admitted(caller, "KEY_ROTATE", self._entry(caller, key_id), "ImportKeyVersion")
        target = entry.target
        detail = {"wrapping_key": wrapped.wrapping_key, "form": wrapped.form}
        record = self._guard.permit_change(caller, "KEY_IMPORT", target, "ImportKeyVersion", detail)
        key = entry.key
        try:
            check_version(key.version, if_match)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_IMPORT", target, "ImportKeyVersion", refusal)
        opened = self._unwrapped(caller, target, "ImportKeyVersion", wrapped, key.vault, key.id)
        try:
            made = self._import_version(caller, key, _told(record, opened), opened, if_match)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_IMPORT", target, "ImportKeyVersion", refusal)
        finally:
            opened.material.wipe()
        self._scrub()
        return made

    def _import_version(
        self, caller: Caller, key: Key, record: AuditEntry, opened: _Opened, if_match: int | None
    ) -> Imported:
        number = key.current + 1
        while True:
            version = self._imported(key, number, opened)
            try:
                with self._store.write(record) as tx:
                    seen = self._seen(tx, key)
                    check_version(seen.row.version, if_match)
                    check_place(seen, key)
                    check_rotatable(seen)
                    if seen.row.current + 1 != number:
                        raise _Behind(seen.row.current + 1)
                    changed = rotated(seen.row, seen.now)
                    if not tx.vault.change_key(seen.row, changed):
                        raise stale()
                    self._use_up(tx, caller, opened)
                    tx.vault.add_version(changed, version)
                    return Imported(key_as_of(changed, seen.vault, seen.now), version, opened.check_value)
            except _Behind as behind:
                self._forget(key, version)
                number = behind.number
            except Refusal:
                self._forget(key, version)
                raise

    def _new_wrapping_key(
        self,
        caller: Caller,
        record: AuditEntry,
        vault: VaultId,
        key: KeyId,
        algorithm: Algorithm,
        way: Way,
        hours: int,
    ) -> WrappingKey:
        suite_of(algorithm)
        suite = transport.wrapping_suite(transport.way_of(way))
        now = self._clock.now()
        until = expiry(now, hours)
        new = WrappingKeyId(new_id("wrappingkey", self._region))
        private = asymmetric.generate(suite)
        public = asymmetric.PrivateKey(suite, private).public.spki
        sealing = self._keyring.sealing_of(vault)
        sealed = sealing.seal(private.reveal(), self._binding_of(caller.principal.tenancy, new, sealing.key_id))
        private.wipe()
        made = WrappingKey(
            new, caller.principal.tenancy, vault, key, algorithm, way, caller.principal.id, public, sealed, now, until
        )
        with self._store.write(record) as tx:
            for over in tx.vault.due_wrapping_keys(now):
                tx.vault.change_wrapping_key(over, expired(over))
            home = tx.vault.vault(made.tenancy, vault)
            if home is not None and tx.vault.open_wrapping_keys(home) >= MAX_OPEN:
                raise Refusal(
                    "TooManyWrappingKeys",
                    f"vault {home.name!r} has {MAX_OPEN} wrapping keys that nobody has used",
                    hint="they end by themselves; use one of them, or wait",
                    kind="too_many",
                )
            tx.vault.add_wrapping_key(made)
        return made

    def _unwrapped(
        self, caller: Caller, target: Target, operation: str, wrapped: Wrapped, vault: str, key: str
    ) -> _Opened:
        """The material, when it is what the wrapping key was given for. Raises: Refusal, recorded."""
        try:
            parse_id(wrapped.wrapping_key, "wrappingkey")
            with self._store.read() as tx:
                found = tx.vault.wrapping_key(caller.principal.tenancy, wrapped.wrapping_key)
            row = check_open(found, caller.principal.id, vault, key, self._clock.now())
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_IMPORT", target, operation, refusal)
        try:
            opened = self._open_material(row, wrapped)
        except Refusal:
            self._missed(caller, target, operation, row)
        with self._store.read() as tx:
            destroyed = self._was_destroyed(tx, row.tenancy, opened.fingerprint)
        if destroyed:
            opened.material.wipe()
            self._guard.refuse(caller, "KEY_IMPORT", target, operation, _destroyed())
        return opened

    def _open_material(self, row: WrappingKey, wrapped: Wrapped) -> _Opened:
        """Raises: Refusal: it does not open, or is no sound key of the algorithm."""
        suite = suite_of(row.algorithm)
        sealing = self._keyring.sealing_of(row.vault)
        private = Secret(sealing.open(row.wrapped, self._binding_of(row.tenancy, row.id, sealing.key_id)))
        plain: Secret | None = None
        try:
            if wrapped.form == "byok":
                blob = byok.read(wrapped.blob)
                if row.way != "RSA-AES-KWP" or blob.wrapping_key != row.id:
                    raise Unreadable
                plain = transport.unwrap_transfer(private, blob.wrapped)
                material = portable.read(suite, plain.reveal(), "raw")
            else:
                plain = transport.unwrap(row.way, private, wrapped.blob)
                material = portable.read(suite, plain.reveal(), wrapped.form)
        finally:
            private.wipe()
            if plain is not None:
                plain.wipe()
        public = asymmetric.PrivateKey(suite, material).public.spki if suite.asymmetric else b""
        known = self._keyring.software.fingerprint(suite, material, public)
        return _Opened(row, material, known, checkvalue.of_material(suite, material))

    def _missed(self, caller: Caller, target: Target, operation: str, row: WrappingKey) -> None:
        """Count an attempt, and refuse: the same whatever was wrong."""
        after = missed(row)
        refusal = Refusal(
            "InvalidImport",
            f"this does not open with the wrapping key, or is no sound key of {row.algorithm}",
            hint="wrap the whole key with the public half that was given, in the way it was given for; "
            + ("the wrapping key has ended" if after.state == "SPENT" else "the wrapping key can be used again"),
        )
        record = self._guard.entry(
            caller, "KEY_IMPORT", target, operation, "refused", code=refusal.code, reason=refusal.message
        )
        with self._store.write(record) as tx:
            # As it is now: attempts that are made at the same time are counted each.
            now = tx.vault.wrapping_key(row.tenancy, row.id)
            if now is not None and now.state == "OPEN":
                after = missed(now)
                tx.vault.change_wrapping_key(now, after)
        if after.state != "OPEN":
            self._scrub()
        refusal.recorded = True
        raise refusal

    def _was_destroyed(self, tx: VaultTx, tenancy: str, fingerprint: bytes) -> bool:
        """Whether material of this fingerprint was destroyed, or should have been by now."""
        now = self._clock.now()
        return any(
            version_as_of(version, now).state == "DELETED"
            or key_as_of(key, tx.vault.vault(key.tenancy, key.vault), now).state == "PURGED"
            for key, version in tx.vault.of_material(tenancy, fingerprint)
        )

    def _imported(self, key: Key, number: int, opened: _Opened) -> KeyVersion:
        """The version, kept by its keystore. Raises: Refusal, Unavailable."""
        stored = self._keyring.keystore(key.protection).add(self._keyring.spec(key, number), opened.material)
        return self._version_of(key, number, replace(stored, fingerprint=opened.fingerprint), "imported")

    def _use_up(self, tx: VaultTx, caller: Caller, opened: _Opened) -> None:
        """The wrapping key ends with the import it was for. Raises: Refusal, it ended meanwhile."""
        row = tx.vault.wrapping_key(opened.row.tenancy, opened.row.id)
        row = check_open(row, caller.principal.id, opened.row.vault, opened.row.key, self._clock.now())
        if self._was_destroyed(tx, row.tenancy, opened.fingerprint):
            raise _destroyed()
        if not tx.vault.change_wrapping_key(row, used(row)):
            raise stale()

    def _binding_of(self, tenancy: str, wrapping_key: str, parent: str) -> Binding:
        return Binding("wrapping-key", tenancy, self._region, wrapping_key, parent)


def _told(record: AuditEntry, opened: _Opened) -> AuditEntry:
    return record._replace(detail={**record.detail, "way": opened.row.way, "check_value": opened.check_value})


def _destroyed() -> Refusal:
    return Refusal(
        "MaterialDestroyed",
        "this material was destroyed here before: it is not taken back",
        hint="what was destroyed stays destroyed; make a new key, or restore a key from its backup",
        kind="conflict",
    )


class _Behind(Exception):
    """Somebody else has made a version; ends the transaction."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
