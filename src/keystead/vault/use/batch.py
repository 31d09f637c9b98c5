"""Many at once with one key: one decision, one look at the key's state, one audit entry, and a result for each item.

Promise: item by item the answers are those of the single acts, in the order of the items; one item's failure changes
nothing for the others, unless the batch is `atomic`: then the first failure refuses it as a whole, and nothing of the
others is shown. The audit entry tells how many items there were, how many failed, and which.

Limits: 1,000 items, each as large as alone, within one request's body.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from keystead.core.errors import Refusal
from keystead.crypto.envelope import Kek
from keystead.crypto.suites import CURRENT, Operation
from keystead.iam.model import Caller
from keystead.iam.permissions import Permission
from keystead.vault.memory.keyring import Entry
from keystead.vault.use.operations import Operations, Use, check_size

MAX_ITEMS = 1000
MAX_NAMED = 50
Item = TypeVar("Item")
Result = TypeVar("Result")
Pair = tuple[bytes, bytes]  # plaintext or ciphertext, and associated data
Signed = tuple[bytes, bytes]  # message, and signature


@dataclass(frozen=True, slots=True)
class Batch(Generic[Result]):
    """What became of each item: its result, or why there is none. `key_version`: the one that seals and signs."""

    results: list[Result | Refusal]
    failed: int
    key_version: int


class Batches(Operations):
    """The acts of `Operations`, many at once."""

    def encrypt_batch(
        self, caller: Caller, key_id: str, items: Sequence[Pair], *, atomic: bool = False
    ) -> Batch[bytes]:
        """Encrypt each (plaintext, associated data)."""
        return self._seal_batch(caller, key_id, items, "customer-data", "encrypt", "EncryptBatch", atomic)

    def wrap_batch(self, caller: Caller, key_id: str, items: Sequence[Pair], *, atomic: bool = False) -> Batch[bytes]:
        """Wrap each (key material, associated data)."""
        return self._seal_batch(caller, key_id, items, "customer-key", "wrap", "WrapBatch", atomic)

    def decrypt_batch(
        self, caller: Caller, key_id: str, items: Sequence[Pair], *, atomic: bool = False
    ) -> Batch[bytes]:
        """Open each (ciphertext, associated data) that `encrypt` made."""
        return self._open_batch(caller, key_id, items, "customer-data", "decrypt", "DecryptBatch", atomic)

    def unwrap_batch(self, caller: Caller, key_id: str, items: Sequence[Pair], *, atomic: bool = False) -> Batch[bytes]:
        """Open each (ciphertext, associated data) that `wrap` made."""
        return self._open_batch(caller, key_id, items, "customer-key", "unwrap", "UnwrapBatch", atomic)

    def rewrap_batch(
        self, caller: Caller, key_id: str, items: Sequence[Pair], *, atomic: bool = False, into: str = ""
    ) -> Batch[bytes]:
        """Bring each (ciphertext, associated data) to the current version, of this key or of the key `into`."""
        entry, newest = self._from_and_into(caller, key_id, into, "RewrapBatch")
        self._begin(caller, newest.key.id, items, "KEY_ENCRYPT", "wrap", "RewrapBatch")
        done = _each(items, lambda item: self._rewrapped(entry, newest, *item))
        made = self._end(caller, entry, "KEY_DECRYPT", "RewrapBatch", done, atomic)
        if newest is not entry:
            said = {"from_key": entry.key.id}
            self._guard.record(caller, "KEY_ENCRYPT", newest.target, "RewrapBatch", "allowed", detail=said)
        return replace(made, key_version=newest.key.current)

    def sign_batch(
        self,
        caller: Caller,
        key_id: str,
        messages: Sequence[bytes],
        scheme: str = "",
        *,
        digest: bool = False,
        atomic: bool = False,
    ) -> Batch[bytes]:
        """Sign each message (or digest) by one scheme."""
        entry = self._begin(caller, key_id, messages, "KEY_SIGN", "sign", "SignBatch")
        way = CURRENT[entry.key.algorithm].scheme(scheme)
        material = self._version(caller, "KEY_SIGN", entry, entry.key.current, "SignBatch")

        def sign(message: bytes) -> bytes:
            check_size(message, "signed", "sign its digest")
            return material.sign(message, way, digest=digest)

        return self._end(caller, entry, "KEY_SIGN", "SignBatch", _each(messages, sign), atomic)

    def verify_batch(
        self,
        caller: Caller,
        key_id: str,
        items: Sequence[Signed],
        scheme: str = "",
        *,
        digest: bool = False,
        key_version: int = 0,
        atomic: bool = False,
    ) -> Batch[bool]:
        """Whether each (message, signature) holds. One that does not is an answer, no failure."""
        entry = self._begin(caller, key_id, items, "KEY_VERIFY", "verify", "VerifyBatch")
        way = CURRENT[entry.key.algorithm].scheme(scheme)
        material = self._version(caller, "KEY_VERIFY", entry, key_version or entry.key.current, "VerifyBatch")

        def verify(item: Signed) -> bool:
            check_size(item[0], "verified", "verify its digest")
            return material.verify(item[0], item[1], way, digest=digest)

        return self._end(caller, entry, "KEY_VERIFY", "VerifyBatch", _each(items, verify), atomic)

    def _seal_batch(
        self,
        caller: Caller,
        key_id: str,
        items: Sequence[Pair],
        use: Use,
        ability: Operation,
        operation: str,
        atomic: bool,
    ) -> Batch[bytes]:
        entry = self._begin(caller, key_id, items, "KEY_ENCRYPT", ability, operation)
        material = self._version(caller, "KEY_ENCRYPT", entry, entry.key.current, operation)
        bind = self._keyring.binding

        def seal(item: Pair) -> bytes:
            check_size(item[0], "encrypted", "generate a data key and encrypt with that")
            return material.seal(item[0], bind(entry, use, item[1]))

        return self._end(caller, entry, "KEY_ENCRYPT", operation, _each(items, seal), atomic)

    def _open_batch(
        self,
        caller: Caller,
        key_id: str,
        items: Sequence[Pair],
        use: Use,
        ability: Operation,
        operation: str,
        atomic: bool,
    ) -> Batch[bytes]:
        entry = self._begin(caller, key_id, items, "KEY_DECRYPT", ability, operation)
        done = [
            self._open_one(entry, use, *item) if text is None else text
            for item, text in zip(items, self._opened_together(entry, use, items), strict=True)
        ]
        return self._end(caller, entry, "KEY_DECRYPT", operation, done, atomic)

    def _opened_together(self, entry: Entry, use: Use, items: Sequence[Pair]) -> list[bytes | None]:
        """What the current version opens of items without associated data, when it is of AES and in use already."""
        current = entry.materials.get(entry.key.current)
        if not isinstance(current, Kek) or any(associated for _, associated in items):
            return [None] * len(items)
        return current.open_each([blob for blob, _ in items], self._keyring.binding(entry, use, b""))

    def _open_one(self, entry: Entry, use: Use, blob: bytes, associated: bytes) -> bytes | Refusal:
        try:
            return self._keyring.material_of(entry, blob).open(blob, self._keyring.binding(entry, use, associated))
        except Refusal as refusal:
            return refusal

    def _begin(
        self,
        caller: Caller,
        key_id: str,
        items: Sequence[object],
        permission: Permission,
        ability: Operation,
        operation: str,
    ) -> Entry:
        if not 0 < len(items) <= MAX_ITEMS:
            raise Refusal(
                "InvalidParameter", f"a batch has 1 to {MAX_ITEMS} items, not {len(items)}", hint="send several"
            )
        return self._ready(caller, permission, self._entry(caller, key_id), ability, operation)

    def _end(
        self,
        caller: Caller,
        entry: Entry,
        permission: Permission,
        operation: str,
        done: list[Result | Refusal],
        atomic: bool,
    ) -> Batch[Result]:
        """Record the batch, once. Raises: Refusal `BatchRefused` (recorded): atomic, and an item failed."""
        failures = [(place, self._said(entry, each)) for place, each in enumerate(done) if isinstance(each, Refusal)]
        for place, each in failures:
            done[place] = each
        detail = {"items": str(len(done)), "failed": str(len(failures))}
        if failures:
            named = ",".join(str(place) for place, _ in failures[:MAX_NAMED])
            detail["failed_items"] = named + (",…" if len(failures) > MAX_NAMED else "")
            place, first = failures[0]
            if atomic:
                refusal = Refusal(
                    "BatchRefused",
                    f"{len(failures)} of {len(done)} items failed, first item {place}: {first.message}",
                    hint="nothing was done; take the item out, or ask without atomic",
                    kind="conflict",
                )
                self._guard.refuse(caller, permission, entry.target, operation, refusal)
        self._guard.record(caller, permission, entry.target, operation, "allowed", detail=detail)
        return Batch(done, len(failures), entry.key.current)


def _each(items: Iterable[Item], act: Callable[[Item], Result]) -> list[Result | Refusal]:
    done: list[Result | Refusal] = []
    for item in items:
        try:
            done.append(act(item))
        except Refusal as refusal:
            done.append(refusal)
    return done
