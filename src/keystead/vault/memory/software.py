"""The software keystore: material in the region's own rows, in an envelope, and in memory while it is used.

    reference = "KSM" | format 1 | algorithm u16 | envelope of the material        docs/formats/key-material.md

    sealed by   the vault-store key of the region's root, or the private vault's own wrapping key
    bound to    purpose "key-material", tenancy, region, "<key id>/<version>", sealing key, and the six bytes before it

Promise: a reference opens for the key, version, tenancy, region and algorithm it was made for, and for nothing else:
rows that were swapped or edited give `Unreadable`. An envelope without the six bytes is AES-256 from before they came.
"""

import secrets
import struct
from collections.abc import Callable

from keystead.core.errors import Unreadable
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, kdf
from keystead.crypto.asymmetric import PrivateKey
from keystead.crypto.encapsulate import Encapsulated
from keystead.crypto.envelope import Binding, Kek, Kek128, Kek192
from keystead.crypto.suites import ALGORITHMS, BY_NUMBER, Suite, suite_of, wrong_operation
from keystead.vault.model import Protection
from keystead.vault.ports import KeySpec, Material, Stored

MAGIC = b"KSM\x01"
FINGERPRINT_BYTES = 32
_HEADER = struct.Struct(">4sH")
_KEKS: dict[int, type[Kek]] = {128: Kek128, 192: Kek192, 256: Kek}


class SoftwareKeystore:
    """A `Keystore` whose references hold the material itself."""

    protection: Protection = "software"
    blocks = False
    algorithms = frozenset(ALGORITHMS)

    def __init__(self, sealing: Callable[[str], Kek], fingerprint_key: Secret, region: str) -> None:
        """`sealing` gives the key that wraps what lies in a vault, by the vault's id."""
        self._sealing = sealing
        self.known_by = fingerprint_key
        """The key of fingerprints."""
        self._region = region

    def generate(self, spec: KeySpec) -> Stored:
        """A new random version. RSA takes up to seconds. Raises: Refusal, no such algorithm."""
        suite = suite_of(spec.algorithm)
        material = asymmetric.generate(suite) if suite.asymmetric else Secret(secrets.token_bytes(suite.bits // 8))
        try:
            return self._store(spec, suite, material)
        finally:
            material.wipe()

    def add(self, spec: KeySpec, material: Secret) -> Stored:
        """Keep material that was made elsewhere. Raises: Refusal, `InvalidKey`."""
        suite = suite_of(spec.algorithm)
        if suite.asymmetric:
            asymmetric.check(suite, material)
        elif len(material) * 8 != suite.bits:
            raise asymmetric.invalid_key(suite)
        return self._store(spec, suite, material)

    def use(self, spec: KeySpec, stored: Stored) -> Material:
        """The version ready for use. Raises: Unreadable, for every cause alike."""
        suite, material = self._open(spec, stored.reference)
        try:
            if suite.asymmetric:
                return SoftwareMaterial(PrivateKey(suite, material), spec)
            return _KEKS[suite.bits](material.reveal(), spec.key, spec.number)
        finally:
            material.wipe()

    def destroy(self, spec: KeySpec, stored: Stored) -> None:
        """Nothing lies outside the rows, which whoever owns them overwrites."""

    def known(self, spec: KeySpec, stored: Stored) -> None:
        """It is here: nothing stands against it."""

    def reveal(self, spec: KeySpec, stored: Stored) -> Secret:
        """The material itself: for what must carry it elsewhere in another wrapping. Raises: Unreadable."""
        return self._open(spec, stored.reference)[1]

    def keep(self, spec: KeySpec, material: Secret) -> Stored:
        """As `add`, for what was kept here before: it is not checked again."""
        return self._store(spec, suite_of(spec.algorithm), material)

    def fingerprint(self, suite: Suite, material: Secret, public: bytes = b"") -> bytes:
        """By what this material is known again: a keyed hash of the public half, or of the material."""
        number = suite.number.to_bytes(2, "big")
        known = b"public" + number + public if public else b"secret" + number + material.reveal()
        return kdf.mac(self.known_by.reveal(), known)[:FINGERPRINT_BYTES]

    def _store(self, spec: KeySpec, suite: Suite, material: Secret) -> Stored:
        public = PrivateKey(suite, material).public.spki if suite.asymmetric else b""
        header = _HEADER.pack(MAGIC, suite.number)
        sealing = self._sealing(spec.vault)
        sealed = sealing.seal(material.reveal(), self._binding(spec, sealing, header))
        return Stored(header + sealed, public, self.fingerprint(suite, material, public))

    def _open(self, spec: KeySpec, reference: bytes) -> tuple[Suite, Secret]:
        sealing = self._sealing(spec.vault)
        header, number = b"", suite_of("AES-256").number
        if reference[: len(MAGIC)] == MAGIC and len(reference) > _HEADER.size:
            header, number = reference[: _HEADER.size], _HEADER.unpack_from(reference)[1]
        suite = BY_NUMBER.get(number)
        if suite is None or suite.name != spec.algorithm:
            raise Unreadable
        opened = sealing.open(reference[len(header) :], self._binding(spec, sealing, header))
        return suite, Secret(opened)

    def _binding(self, spec: KeySpec, sealing: Kek, header: bytes) -> Binding:
        resource = f"{spec.key}/{spec.number}"
        return Binding("key-material", spec.tenancy, self._region, resource, sealing.key_id, header)


class SoftwareMaterial:
    """A version of an asymmetric key in memory: signs, or seals by encapsulation, or both."""

    __slots__ = ("_envelopes", "_key")

    def __init__(self, key: PrivateKey, spec: KeySpec) -> None:
        self._key = key
        suite = key.suite
        self._envelopes = Encapsulated(key, suite.envelope, spec.key, spec.number) if suite.envelope else None

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """An envelope. Raises: Refusal, `WrongOperation`."""
        if self._envelopes is None:
            raise wrong_operation(self._key.suite.name, "wrap")
        return self._envelopes.seal(plaintext, binding)

    def sealed(self, blob: bytes) -> bool:
        """Whether `blob` says that this version made it."""
        return self._envelopes is not None and self._envelopes.sealed(blob)

    def open(self, blob: bytes, binding: Binding) -> bytes:
        """What `seal` was given. Raises: Unreadable; Refusal, `WrongOperation`."""
        if self._envelopes is None:
            raise wrong_operation(self._key.suite.name, "unwrap")
        return self._envelopes.open(blob, binding)

    def sign(self, message: bytes, scheme: str = "", *, digest: bool = False) -> bytes:
        """As `PrivateKey.sign`."""
        return self._key.sign(message, scheme, digest=digest)

    def verify(self, message: bytes, signature: bytes, scheme: str = "", *, digest: bool = False) -> bool:
        """As `PublicKey.verify`."""
        return self._key.verify(message, signature, scheme, digest=digest)
