"""Keys and their versions: made, shown, set up, rotated."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from keystead.audit.model import Entry as AuditEntry
from keystead.core.errors import KeysteadError, Refusal, check_version, not_found, required, stale, taken
from keystead.core.ids import KeyId, KeyVersionId, VaultId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.crypto.suites import Algorithm
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.vault.base import check_active, check_standing
from keystead.vault.lifecycle.changing import Request, Seen
from keystead.vault.lifecycle.moves import KeyMoves
from keystead.vault.lifecycle.rotation import rotated, rotation_due
from keystead.vault.lifecycle.settings import KeySettings, check_not_shorter
from keystead.vault.lifecycle.table import check_lock, key_as_of, usable, vault_as_of, version_as_of
from keystead.vault.memory.keyring import Entry
from keystead.vault.model import Key, KeyVersion, Origin, Protection, Vault
from keystead.vault.ports import Stored, VaultTx

NO_SETTINGS = KeySettings()


class KeyActs(KeyMoves):
    """What is done with keys, but for using them."""

    def create_key(
        self,
        caller: Caller,
        compartment: str,
        vault: str,
        name: str,
        algorithm: Algorithm = "AES-256",
        protection: Protection | None = None,
        settings: KeySettings = NO_SETTINGS,
    ) -> Key:
        """A new enabled key with its first version. `protection` None: that of its vault."""
        check_name(name, "key")  # first: what is refused by its words alone tells nothing about the vault
        place = self._place(caller, compartment)
        home, at_vault = self._vault(caller, vault)
        new = KeyId(new_id("key", self._region))
        target = Target("keys", new, name, place.tenancy, place.path, {"key.name": name, "vault.id": home.id})
        self._guard.require(caller, "VAULT_CREATE_KEY", at_vault, "CreateKey")
        entry = self._guard.permit_change(caller, "KEY_CREATE", target, "CreateKey", {"algorithm": algorithm})
        check_room(home)
        key = self._fresh(caller, place, home.id, name, new, algorithm, protection or home.protection)
        key = settings.applied(key, key.created_at)
        first = self._new_version(key, 1)
        with self._undone(key, first), self._store.write(entry) as tx:
            if tx.vault.keys(place.tenancy, place.id, PageRequest(1), name):
                raise taken("key", name)
            self._check_vault(tx, home)
            tx.vault.add_key(key, first)
        return key

    def new_key(
        self,
        caller: Caller,
        place: Compartment,
        vault: VaultId,
        name: str,
        key_id: KeyId,
        managed_by: str = "",
        algorithm: Algorithm = "AES-256",
    ) -> tuple[Key, KeyVersion]:
        """A fresh key and its first version, not stored yet: for a transaction of the caller's own."""
        key = self._fresh(caller, place, vault, name, key_id, algorithm, "software", managed_by)
        return key, self._new_version(key, 1)

    def get_key(self, caller: Caller, key_id: str) -> Key:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "GetKey")
        key = self._current(entry).key
        return key_as_of(key, self._keyring.vault(key.vault), self._clock.now())

    def list_keys(self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None) -> Page[Key]:
        place = self._place(caller, compartment)
        target = Target("keys", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "KEY_INSPECT", target, "ListKeys")
        now = self._clock.now()
        with self._store.read() as tx:
            found = tx.vault.keys(place.tenancy, place.id, page, name)
        shown = cut([key_as_of(key, self._keyring.vault(key.vault), now) for key in found], page.limit, _name)
        return Page([key for key in shown.items if self._keyring.reaches(caller, key.vault)], shown.next)

    def list_versions(self, caller: Caller, key_id: str, page: PageRequest) -> Page[KeyVersion]:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "ListKeyVersions")
        entry, now = self._current(entry), self._clock.now()
        since = int(page.after[:18]) if page.after and page.after.isdecimal() else 0
        newer = [version_as_of(found, now) for number, found in sorted(entry.versions.items()) if number > since]
        return cut(newer[: page.limit + 1], page.limit, lambda item: str(item.number))

    def get_version(self, caller: Caller, key_id: str, version_id: str) -> KeyVersion:
        parse_id(version_id, "keyversion")
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "GetKeyVersion")
        for found in self._current(entry).versions.values():
            if found.id == version_id:
                return version_as_of(found, self._clock.now())
        raise not_found("key version")

    def update_key(self, caller: Caller, key_id: str, settings: KeySettings, if_match: int | None = None) -> Key:
        """Change what the customer decides about a key; what is not given stays."""
        request = Request("KEY_UPDATE", "UpdateKey", if_match, settings.told(), taking=True)

        def change(seen: Seen) -> Key:
            check_standing(seen.key)
            check_active(seen.vault, "its keys cannot be changed")
            changed = settings.applied(seen.row, seen.now)
            protected = seen.vault is not None and seen.vault.purge_protection
            check_not_shorter("key", seen.row.name, protected, seen.row.retention_days, changed.retention_days)
            return changed if changed == seen.row else replace(changed, version=seen.row.version + 1)

        return self._change_key(caller, key_id, request, change)

    def rotate(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """A new current version. Older ones open what they sealed and seal nothing any more."""
        entry = self._admitted(caller, "KEY_ROTATE", self._entry(caller, key_id), "RotateKey")
        record = self._guard.permit_change(caller, "KEY_ROTATE", entry.target, "RotateKey")
        try:
            changed = self._rotate(entry, record, if_match=if_match)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_ROTATE", entry.target, "RotateKey", refusal)
        if changed is None:  # only where a due date is asked for
            raise stale()
        return changed

    def _rotate(
        self, entry: Entry, record: AuditEntry, *, if_match: int | None = None, if_due: bool = False
    ) -> Key | None:
        """Rotate a key as it is inside the transaction; None when `if_due` and it is not due (any more).

        The version is made before the transaction, because that may take long; where somebody else was faster, another.
        """
        number = self._current(entry).key.current + 1
        while True:
            version = self._new_version(entry.key, number)
            try:
                with self._undone(entry.key, version), self._store.write(record) as tx:
                    seen = self._seen(tx, entry.key)
                    check_version(seen.row.version, if_match)
                    check_place(seen, entry.key)
                    if if_due and not rotation_due(seen.row, seen.now):
                        raise _NotDue
                    check_rotatable(seen)
                    if seen.row.current + 1 != number:
                        raise _Behind(seen.row.current + 1)
                    changed = rotated(seen.row, seen.now)
                    if not tx.vault.change_key(seen.row, changed):
                        raise stale()
                    tx.vault.add_version(changed, version)
                    return changed
            except _NotDue:
                return None
            except _Behind as behind:
                number = behind.number

    def _fresh(
        self,
        caller: Caller,
        place: Compartment,
        vault: VaultId,
        name: str,
        key_id: KeyId,
        algorithm: Algorithm,
        protection: Protection,
        managed_by: str = "",
    ) -> Key:
        now = self._clock.now()
        return Key(
            id=key_id,
            tenancy=place.tenancy,
            compartment=place.id,
            vault=vault,
            name=name,
            algorithm=algorithm,
            state="ENABLED",
            current=1,
            created_at=now,
            changed_by=caller.principal.name,
            changed_at=now,
            managed_by=managed_by,
            protection=protection,
        )

    def _new_version(self, key: Key, number: int) -> KeyVersion:
        return self._version_of(key, number, self._keyring.generate(key, number))

    def _version_of(self, key: Key, number: int, stored: Stored, origin: Origin = "generated") -> KeyVersion:
        """The version whose material a keystore has."""
        return KeyVersion(
            KeyVersionId(new_id("keyversion", self._region)),
            key.id,
            number,
            stored.reference,
            self._clock.now(),
            public=stored.public,
            origin=origin,
            fingerprint=stored.fingerprint,
        )

    @contextmanager
    def _undone(self, key: Key, made: KeyVersion) -> Iterator[None]:
        """While a new version is written: if that is refused, nothing of it stays in its keystore.

        Around the transaction, so that nobody's change waits for a keystore that does not answer. One that breaks
        while it commits may have taken place, and then it stays.
        """
        try:
            yield
        except (Refusal, _Behind, _NotDue):
            self._forget(key, made)
            raise

    def _forget(self, key: Key, made: KeyVersion) -> None:
        """Let a keystore forget what no row will name. What happened before is what the caller must learn."""
        stored = Stored(made.wrapped, made.public, made.fingerprint)
        with suppress(KeysteadError):
            self._keyring.keystore(key.protection).destroy(self._keyring.spec(key, made.number), stored)

    def _check_vault(self, tx: VaultTx, vault: Vault) -> None:
        """Raises: Refusal when the vault, as it is inside the transaction, takes no (more) keys."""
        found = required(tx.vault.vault(vault.tenancy, vault.id), "vault")
        home = vault_as_of(found, self._clock.now())
        check_room(home)
        if home.key_limit and tx.vault.key_count(home) >= home.key_limit:
            raise Refusal(
                "TooManyKeys",
                f"vault {home.name!r} holds {home.key_limit} keys, which is its limit",
                hint=f"keystead vault update {home.name} --key-limit, or another vault",
                kind="conflict",
            )


def _name(item: Key) -> str:
    return item.name


def check_room(vault: Vault) -> None:
    """Raises: Refusal when the vault takes no keys."""
    check_active(vault, "no key can be made in it")
    check_lock("vault", vault.name, vault.lock, deleting=False)


def check_rotatable(seen: Seen) -> None:
    """Raises: Refusal when the key may not be rotated as it is."""
    refusal = usable(seen.row, None, seen.vault, seen.now, to="seal")
    if refusal is not None:
        raise refusal
    check_lock("key", seen.row.name, seen.row.lock, deleting=False, vault=seen.vault)


def check_place(seen: Seen, found: Key) -> None:
    """Raises: Refusal when the key was moved since permission was asked."""
    if seen.row.compartment != found.compartment:
        raise stale()


class _NotDue(Exception):
    """Somebody else has rotated it; ends the transaction."""


class _Behind(Exception):
    """Somebody else has rotated it; ends the transaction."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
