"""Message authentication codes with a customer's key, by the hash function they choose: HMAC (RFC 2104, FIPS 198-1).

    MAC key = HKDF-SHA512(ikm = material of the version, salt = "keystead mac v1", info = name of the hash, 64 bytes)

So the same material seals and authenticates without one telling anything about the other, whatever the algorithm is.
"""

from typing import Literal, get_args

from cryptography.hazmat.primitives import constant_time, hashes, hmac
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keystead.core.errors import Refusal

MacHash = Literal["SHA224", "SHA256", "SHA384", "SHA512", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512"]

_SALT = b"keystead mac v1"
_KEY_BYTES = 64
_HASHES: dict[MacHash, hashes.HashAlgorithm] = {
    "SHA224": hashes.SHA224(),
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
    "SHA3-224": hashes.SHA3_224(),
    "SHA3-256": hashes.SHA3_256(),
    "SHA3-384": hashes.SHA3_384(),
    "SHA3-512": hashes.SHA3_512(),
}


class MacKey:
    """One version of a key, for MACs by one hash. Thread-safe."""

    __slots__ = ("_state",)

    def __init__(self, material: bytes, hashed: MacHash) -> None:
        """From at least 16 bytes of material.

        Raises:
            Refusal: `InvalidParameter`, not a hash that is offered.
            ValueError: too little material.
        """
        if len(material) < 16:
            raise ValueError("a MAC key is made of at least 16 bytes")
        algorithm = _HASHES.get(hashed)
        if algorithm is None:
            known = ", ".join(get_args(MacHash))
            raise Refusal("InvalidParameter", f"MACs are not made by {hashed!r}", hint=f"by one of: {known}")
        key = HKDF(hashes.SHA512(), _KEY_BYTES, _SALT, hashed.encode()).derive(material)
        self._state = hmac.HMAC(key, algorithm)

    def mac(self, message: bytes) -> bytes:
        """The MAC of `message`, as long as the hash."""
        code = self._state.copy()
        code.update(message)
        return code.finalize()

    def matches(self, message: bytes, code: bytes) -> bool:
        """Whether `code` is the MAC of `message`, compared in constant time."""
        return constant_time.bytes_eq(self.mac(message), code)
