"""Cryptography with keys, for people and applications."""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from keystead.core.errors import Refusal, Unreadable
from keystead.iam.model import Caller
from keystead.vault.base import Base

MAX_PLAINTEXT = 64 * 1024
KEY_BYTES = 32
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


class Operations(Base):
    """Encrypt, decrypt, wrap, unwrap, rewrap."""

    def encrypt(self, caller: Caller, key_id: str, plaintext: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt at most 64 KiB. Raises: Refusal (too large, key disabled, not permitted)."""
        return self._seal(caller, key_id, plaintext, associated_data, "customer-data", "Encrypt")

    def decrypt(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `encrypt` made. Raises: Unreadable, for every cause alike."""
        return self._open(caller, key_id, blob, associated_data, "customer-data", "Decrypt")

    def wrap(self, caller: Caller, key_id: str, material: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt a key of the caller's. What was wrapped opens with `unwrap` only."""
        return self._seal(caller, key_id, material, associated_data, "customer-key", "Wrap")

    def unwrap(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `wrap` or `generate_data_key` made: the hot path."""
        return self._open(caller, key_id, blob, associated_data, "customer-key", "Unwrap")

    def rewrap(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Wrap under the current version what any version wrapped, without showing it."""
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_DECRYPT", entry.target, "Rewrap")
        self._guard.require(caller, "KEY_ENCRYPT", entry.target, "Rewrap")
        entry = self._usable(caller, "KEY_DECRYPT", entry, "Rewrap")
        made = None
        for use in ("customer-key", "customer-data"):
            binding = self._keyring.binding(entry, use, associated_data)
            try:
                material = self._keyring.material_of(entry, blob).open(blob, binding)
            except Unreadable:
                continue
            made = self._keyring.material(entry, entry.key.current).seal(material, binding)
            break
        if made is None:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, "Rewrap", Unreadable())
        self._guard.record(caller, "KEY_DECRYPT", entry.target, "Rewrap", "allowed")
        return Ciphertext(made, entry.key.current)

    def generate_data_key(
        self, caller: Caller, key_id: str, associated_data: bytes = b"", *, plaintext_wanted: bool = True
    ) -> DataKey:
        """A fresh 32-byte data key, wrapped; in clear too when wanted."""
        material = secrets.token_bytes(KEY_BYTES)
        sealed = self._seal(caller, key_id, material, associated_data, "customer-key", "GenerateDataKey")
        return DataKey(sealed.blob, sealed.key_version, material if plaintext_wanted else None)

    def _seal(
        self, caller: Caller, key_id: str, plaintext: bytes, associated_data: bytes, use: Use, operation: str
    ) -> Ciphertext:
        if len(plaintext) > MAX_PLAINTEXT:
            raise Refusal(
                "TooLarge",
                f"at most {MAX_PLAINTEXT} bytes can be encrypted at once",
                hint="generate a data key and encrypt with that",
                kind="too_large",
            )
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_ENCRYPT", entry.target, operation)
        entry = self._usable(caller, "KEY_ENCRYPT", entry, operation)
        version = entry.key.current
        blob = self._keyring.material(entry, version).seal(
            plaintext, self._keyring.binding(entry, use, associated_data)
        )
        self._guard.record(caller, "KEY_ENCRYPT", entry.target, operation, "allowed")
        return Ciphertext(blob, version)

    def _open(
        self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes, use: Use, operation: str
    ) -> bytes:
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_DECRYPT", entry.target, operation)
        entry = self._usable(caller, "KEY_DECRYPT", entry, operation)
        try:
            opened = self._keyring.material_of(entry, blob).open(
                blob, self._keyring.binding(entry, use, associated_data)
            )
        except Unreadable as refusal:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, operation, refusal)
        self._guard.record(caller, "KEY_DECRYPT", entry.target, operation, "allowed")
        return opened
