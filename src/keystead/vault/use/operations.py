"""Cryptography with keys, for people and applications: one thing at a time. Many at once: `batch`.

Limits: 64 KiB of plaintext, of a message to sign, of random bytes; 1 MiB of associated data (8 KiB over REST). What is
larger is encrypted with a data key, or signed by its digest.

Every act needs three yeses: the Guard's, the key's state (`lifecycle.usable`), and that the key is for it: what its
algorithm can, narrowed by the operations it permits.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from keystead.core.errors import Refusal, Unreadable
from keystead.crypto import public
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.suites import CURRENT, Algorithm, Operation
from keystead.iam.model import Caller
from keystead.iam.permissions import Permission
from keystead.vault.base import Base
from keystead.vault.lifecycle.table import permits, usable
from keystead.vault.memory.keyring import Entry, VersionShut, Waits
from keystead.vault.model import Protection
from keystead.vault.ports import Material

MAX_PLAINTEXT = 64 * 1024
MAX_RANDOM = 64 * 1024
MAX_ON_LOOP = 250  # uses of an AES key: about two milliseconds
KEY_BYTES = 32
DATA_KEY_BYTES = (16, 24, 32, 48, 64)
Use = Literal["customer-data", "customer-key"]


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """An envelope and the version that made it."""

    blob: bytes
    key_version: int


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key: wrapped, and in clear when that was asked for."""

    blob: bytes
    key_version: int
    plaintext: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, the version that made it, and how."""

    signature: bytes
    key_version: int
    scheme: str


@dataclass(frozen=True, slots=True)
class PublicHalf:
    """The public half of a version: SubjectPublicKeyInfo as PEM, and as JWK."""

    algorithm: Algorithm
    key_version: int
    schemes: tuple[str, ...]
    pem: str
    jwk: Mapping[str, str]


class Operations(Base):
    """Encrypt, decrypt, wrap, unwrap, rewrap, sign, verify."""

    def encrypt(self, caller: Caller, key_id: str, plaintext: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt at most 64 KiB. Raises: Refusal (too large, key disabled, not permitted)."""
        return self._seal(caller, key_id, plaintext, associated_data, "customer-data", "encrypt", "Encrypt")

    def decrypt(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `encrypt` made. Raises: Unreadable, for every cause alike."""
        return self._open(caller, key_id, blob, associated_data, "customer-data", "decrypt", "Decrypt")

    def wrap(self, caller: Caller, key_id: str, material: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt a key of the caller's. What was wrapped opens with `unwrap` only."""
        return self._seal(caller, key_id, material, associated_data, "customer-key", "wrap", "Wrap")

    def unwrap(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `wrap` or `generate_data_key` made: the hot path."""
        return self._open(caller, key_id, blob, associated_data, "customer-key", "unwrap", "Unwrap")

    def rewrap(
        self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"", into: str = ""
    ) -> Ciphertext:
        """Wrap what any version wrapped under the current version of this key, or of `into`, without showing it.

        Raises:
            Refusal: not permitted to decrypt with the one and to encrypt with the other; either may not be used.
            Unreadable.
        """
        entry, newest = self._from_and_into(caller, key_id, into, "Rewrap")
        try:
            made = self._rewrapped(entry, newest, blob, associated_data)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, "Rewrap", self._said(entry, refusal))
        self._record_rewrap(caller, entry, newest, "Rewrap")
        return Ciphertext(made, newest.key.current)

    def generate_data_key(
        self,
        caller: Caller,
        key_id: str,
        associated_data: bytes = b"",
        *,
        plaintext_wanted: bool = True,
        length: int = KEY_BYTES,
    ) -> DataKey:
        """A fresh data key of `length` bytes, wrapped; in clear too when wanted."""
        if length not in DATA_KEY_BYTES:
            sizes = ", ".join(map(str, DATA_KEY_BYTES))
            raise Refusal("InvalidParameter", f"a data key has {sizes} bytes, not {length}")
        material = secrets.token_bytes(length)
        asking = replace(caller, told={"includeplaintextkey": "true" if plaintext_wanted else "false"})
        sealed = self._seal(asking, key_id, material, associated_data, "customer-key", "wrap", "GenerateDataKey")
        return DataKey(sealed.blob, sealed.key_version, material if plaintext_wanted else None)

    def sign(self, caller: Caller, key_id: str, message: bytes, scheme: str = "", *, digest: bool = False) -> Signature:
        """Sign at most 64 KiB with the current version; with `digest`, what has that digest.

        `scheme`: one of the algorithm's (crypto/suites), its usual one when empty.

        Raises:
            Refusal: too large, key disabled, not permitted, `WrongOperation`, `InvalidParameter` (scheme, digest).
        """
        check_size(message, "signed", "sign its digest")
        entry = self._ready(caller, "KEY_SIGN", self._entry(caller, key_id), "sign", "Sign")
        material = self._version(caller, "KEY_SIGN", entry, entry.key.current, "Sign")
        try:
            way = CURRENT[entry.key.algorithm].scheme(scheme)
            made = material.sign(message, way, digest=digest)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_SIGN", entry.target, "Sign", refusal)
        detail = {"scheme": way, "key_version": str(entry.key.current)}
        self._guard.record(caller, "KEY_SIGN", entry.target, "Sign", "allowed", detail=detail)
        return Signature(made, entry.key.current, way)

    def verify(
        self,
        caller: Caller,
        key_id: str,
        message: bytes,
        signature: bytes,
        scheme: str = "",
        *,
        digest: bool = False,
        key_version: int = 0,
    ) -> bool:
        """Whether `signature` is that of a version of this key (0: the current one) over `message`.

        Raises:
            Refusal: as `sign`; `NotFound`, no such version.
        """
        check_size(message, "verified", "verify its digest")
        entry = self._ready(caller, "KEY_VERIFY", self._entry(caller, key_id), "verify", "Verify")
        number = key_version or entry.key.current
        material = self._version(caller, "KEY_VERIFY", entry, number, "Verify")
        try:
            way = CURRENT[entry.key.algorithm].scheme(scheme)
            holds = material.verify(message, signature, way, digest=digest)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_VERIFY", entry.target, "Verify", refusal)
        detail = {"scheme": way, "key_version": str(number), "valid": str(holds).lower()}
        self._guard.record(caller, "KEY_VERIFY", entry.target, "Verify", "allowed", detail=detail)
        return holds

    def public_key(self, caller: Caller, key_id: str, key_version: int = 0) -> PublicHalf:
        """The public half of a version (0: the current one). It is shown whatever state the key is in.

        Raises:
            Refusal: not permitted, `WrongOperation` (the algorithm has none), `NotFound` (no such version).
        """
        entry = self._admitted(caller, "KEY_READ", self._entry(caller, key_id), "GetPublicKey")
        number, suite = key_version or entry.key.current, CURRENT[entry.key.algorithm]
        version = entry.versions.get(number)
        if version is None:
            self._guard.refuse(caller, "KEY_READ", entry.target, "GetPublicKey", _no_version(entry, number))
        if not version.public:
            refusal = Refusal(
                "WrongOperation",
                f"a key of {suite.name} has no public half",
                hint="only asymmetric keys have one",
                kind="conflict",
            )
            self._guard.refuse(caller, "KEY_READ", entry.target, "GetPublicKey", refusal)
        half = PublicKey(suite, version.public)
        self._guard.record(caller, "KEY_READ", entry.target, "GetPublicKey", "allowed")
        return PublicHalf(suite.name, number, suite.schemes, public.pem(half), public.jwk(half))

    def random_bytes(self, caller: Caller, vault_id: str, length: int) -> bytes:
        """1 to 65,536 random bytes of the operating system's generator, for whoever may read the vault."""
        _, target = self._vault(caller, vault_id)
        self._guard.require(caller, "VAULT_READ", target, "GenerateRandom")
        if not 0 < length <= MAX_RANDOM:
            refusal = Refusal("InvalidParameter", f"1 to {MAX_RANDOM} random bytes are made at once")
            self._guard.refuse(caller, "VAULT_READ", target, "GenerateRandom", refusal)
        self._guard.record(caller, "VAULT_READ", target, "GenerateRandom", "allowed", detail={"bytes": str(length)})
        return secrets.token_bytes(length)

    def protection_of(self, vault_id: str) -> Protection:
        """How keys put into a vault are protected where it is not said. Tells nobody whether it is there."""
        found = self._keyring.vault(vault_id)
        return found.protection if found is not None else "software"

    def waits(self, key_id: str, items: int = 1) -> Waits:
        """For what so many uses of this key may wait so long that they do not belong on a loop; empty: they do not."""
        entry = self._keyring.get(key_id)
        if entry is None:
            return ""
        most = MAX_ON_LOOP if CURRENT[entry.key.algorithm].family == "aes" else 1
        return entry.waits or ("slow" if items > most else "")

    # what single acts and batches share

    def _ready(self, caller: Caller, permission: Permission, entry: Entry, ability: Operation, operation: str) -> Entry:
        """The key as it is now, when the caller may do this with it, and it can. Raises: Refusal (recorded)."""
        self._guard.require(caller, permission, entry.target, operation)
        entry = self._usable(caller, permission, entry, operation)
        if ability not in entry.abilities and (refusal := permits(entry.key, ability)) is not None:
            self._guard.refuse(caller, permission, entry.target, operation, refusal)
        return entry

    def _version(self, caller: Caller, permission: Permission, entry: Entry, number: int, operation: str) -> Material:
        """A version ready for use. Raises: Refusal (recorded): there is no such version, or it may not be used."""
        try:
            return self._keyring.material(entry, number)
        except Refusal as found:
            refusal = self._said(entry, found) if number in entry.versions else _no_version(entry, number)
        self._guard.refuse(caller, permission, entry.target, operation, refusal)

    def _said(self, entry: Entry, refusal: Refusal) -> Refusal:
        """The refusal, with the reason where a version may not be used."""
        if not isinstance(refusal, VersionShut):
            return refusal
        version = entry.versions.get(refusal.number)
        return usable(entry.key, version, None, self._clock.now(), to="open") or refusal

    def _from_and_into(self, caller: Caller, key_id: str, into: str, operation: str) -> tuple[Entry, Entry]:
        """The keys of a rewrap, both ready: what is opened must be allowed to be, and so must what is sealed."""
        entry = self._admitted(caller, "KEY_DECRYPT", self._entry(caller, key_id), operation)
        if not into or into == key_id:
            entry = self._ready(caller, "KEY_ENCRYPT", entry, "wrap", operation)
            return entry, entry
        entry = self._ready(caller, "KEY_DECRYPT", entry, "unwrap", operation)
        return entry, self._ready(caller, "KEY_ENCRYPT", self._entry(caller, into), "wrap", operation)

    def _record_rewrap(self, caller: Caller, entry: Entry, newest: Entry, operation: str) -> None:
        """One entry for each key: whoever asks what was done with it finds it."""
        if newest is entry:
            self._guard.record(caller, "KEY_DECRYPT", entry.target, operation, "allowed")
            return
        said = {"to_key": newest.key.id}
        self._guard.record(caller, "KEY_DECRYPT", entry.target, operation, "allowed", detail=said)
        said = {"from_key": entry.key.id}
        self._guard.record(caller, "KEY_ENCRYPT", newest.target, operation, "allowed", detail=said)

    def _rewrapped(self, entry: Entry, newest: Entry, blob: bytes, associated_data: bytes) -> bytes:
        """As it is under the current version of `newest`. Raises: Unreadable; Refusal (a version may not be used)."""
        material = self._keyring.material_of(entry, blob)
        sealing = self._keyring.material(newest, newest.key.current)
        use = "customer-key"
        try:
            plain = material.open(blob, self._keyring.binding(entry, use, associated_data))
        except Unreadable:
            use = "customer-data"
            plain = material.open(blob, self._keyring.binding(entry, use, associated_data))
        return sealing.seal(plain, self._keyring.binding(newest, use, associated_data))

    def _seal(
        self,
        caller: Caller,
        key_id: str,
        plaintext: bytes,
        associated_data: bytes,
        use: Use,
        ability: Operation,
        operation: str,
    ) -> Ciphertext:
        check_size(plaintext, "encrypted", "generate a data key and encrypt with that")
        entry = self._ready(caller, "KEY_ENCRYPT", self._entry(caller, key_id), ability, operation)
        version = entry.key.current
        material = self._version(caller, "KEY_ENCRYPT", entry, version, operation)
        blob = material.seal(plaintext, self._keyring.binding(entry, use, associated_data))
        self._guard.record(caller, "KEY_ENCRYPT", entry.target, operation, "allowed")
        return Ciphertext(blob, version)

    def _open(
        self,
        caller: Caller,
        key_id: str,
        blob: bytes,
        associated_data: bytes,
        use: Use,
        ability: Operation,
        operation: str,
    ) -> bytes:
        entry = self._ready(caller, "KEY_DECRYPT", self._entry(caller, key_id), ability, operation)
        try:
            opened = self._keyring.material_of(entry, blob).open(
                blob, self._keyring.binding(entry, use, associated_data)
            )
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, operation, self._said(entry, refusal))
        self._guard.record(caller, "KEY_DECRYPT", entry.target, operation, "allowed")
        return opened


def check_size(given: bytes, done: str, hint: str) -> None:
    """Raises: Refusal `TooLarge`, over 64 KiB."""
    if len(given) > MAX_PLAINTEXT:
        raise Refusal("TooLarge", f"at most {MAX_PLAINTEXT} bytes can be {done} at once", hint=hint, kind="too_large")


def _no_version(entry: Entry, number: int) -> Refusal:
    return Refusal(
        "NotFound",
        f"key {entry.key.name!r} has no version {number}",
        hint=f"keystead key versions {entry.key.name}",
        kind="not_found",
    )
