"""Keys and their versions: made, shown, moved from state to state."""

from dataclasses import replace

from keystead.core.errors import Refusal, check_version, stale, taken
from keystead.core.ids import KeyId, KeyVersionId, VaultId, new_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.vault.base import Base
from keystead.vault.lifecycle import KeyMove, after
from keystead.vault.model import Algorithm, Key, KeyVersion


class KeyActs(Base):
    """What is done with keys, but for using them."""

    def create_key(
        self, caller: Caller, compartment: str, vault: str, name: str, algorithm: Algorithm = "AES-256"
    ) -> Key:
        """A new enabled key with its first version."""
        place = self._place(caller, compartment)
        home, at_vault = self._vault(caller, vault)
        check_name(name, "key")
        new = KeyId(new_id("key", self._region))
        target = Target("keys", new, name, place.tenancy, place.path, {"key.name": name, "vault.id": home.id})
        self._guard.require(caller, "VAULT_CREATE_KEY", at_vault, "CreateKey")
        entry = self._guard.permit_change(caller, "KEY_CREATE", target, "CreateKey", {"algorithm": algorithm})
        key, first = self.new_key(caller, place, home.id, name, new, algorithm=algorithm)
        with self._store.write(entry) as tx:
            if tx.vault.keys(place.tenancy, place.id, PageRequest(1), name):
                raise taken("key", name)
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
        now = self._clock.now()
        key = Key(
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
        )
        return key, self._new_version(key, 1)

    def get_key(self, caller: Caller, key_id: str) -> Key:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "GetKey")
        return self._current(entry).key

    def list_keys(self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None) -> Page[Key]:
        place = self._place(caller, compartment)
        target = Target("keys", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "KEY_INSPECT", target, "ListKeys")
        with self._store.read() as tx:
            return cut(tx.vault.keys(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def list_versions(self, caller: Caller, key_id: str, page: PageRequest) -> Page[KeyVersion]:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "ListKeyVersions")
        entry = self._current(entry)
        since = int(page.after) if page.after and page.after.isdigit() else 0
        newer = [version for number, version in sorted(entry.versions.items()) if number > since]
        return cut(newer[: page.limit + 1], page.limit, lambda item: str(item.number))

    def enable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Let the key be used again. What was fenced because of it heals by itself."""
        return self._move(caller, key_id, "enable", "EnableKey", if_match)

    def disable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Take the key away from everything that uses it: refused from the next request on, systems are fenced."""
        return self._move(caller, key_id, "disable", "DisableKey", if_match)

    def rotate(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """A new current version. Older ones open what they sealed and seal nothing any more."""
        entry = self._entry(caller, key_id)
        record = self._guard.permit_change(caller, "KEY_ROTATE", entry.target, "RotateKey")
        key = self._usable(caller, "KEY_ROTATE", entry, "RotateKey").key
        check_version(key.version, if_match)
        changed = replace(key, current=key.current + 1, version=key.version + 1)
        version = self._new_version(changed, changed.current)
        with self._store.write(record) as tx:
            if not tx.vault.change_key(key, changed):
                raise stale()
            tx.vault.add_version(changed, version)
        return changed

    def _move(self, caller: Caller, key_id: str, move: KeyMove, operation: str, if_match: int | None) -> Key:
        entry = self._entry(caller, key_id)
        record = self._guard.permit_change(caller, "KEY_UPDATE", entry.target, operation)
        key = self._current(entry).key
        check_version(key.version, if_match)
        try:
            state = after(key.state, move, key.name)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_UPDATE", entry.target, operation, refusal)
        changed = replace(
            key, state=state, changed_by=caller.principal.name, changed_at=self._clock.now(), version=key.version + 1
        )
        with self._store.write(record, reserve=move == "disable") as tx:
            if not tx.vault.change_key(key, changed):
                raise stale()
        return changed

    def _new_version(self, key: Key, number: int) -> KeyVersion:
        stored = self._keyring.generate(key, number)
        return KeyVersion(
            KeyVersionId(new_id("keyversion", self._region)),
            key.id,
            number,
            stored.reference,
            self._clock.now(),
            public=stored.public,
            fingerprint=stored.fingerprint,
        )
