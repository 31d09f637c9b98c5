"""A recipient: whoever holds the private half opens what anybody sealed to the public half. Hybrid, post-quantum.

    HPKE (RFC 9180), base mode, single shot
    KEM   MLKEM768-X25519 (draft-ietf-hpke-pq)     KDF  HKDF-SHA256     AEAD  AES-256-GCM

Whoever breaks one of the two, X25519 or ML-KEM, has broken nothing yet. The name of the suite travels with what it
sealed, so that another can follow when the standard is final.

    private   ML-KEM-768 seed (64) | X25519 private key (32)             96 bytes
    public    ML-KEM-768 encapsulation key (1184) | X25519 key (32)      1216 bytes
    sealed    encapsulation (1120) | ciphertext and tag
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from keystead.core.errors import Unreadable
from keystead.core.secret import Secret

SUITE: Final = "HPKE-X25519-MLKEM768-HKDF-SHA256-AES-256-GCM"
SEED_BYTES: Final = 64
CURVE_BYTES: Final = 32
PRIVATE_BYTES: Final = SEED_BYTES + CURVE_BYTES
PUBLIC_BYTES: Final = 1184 + CURVE_BYTES
_suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def generate() -> Secret:
    """A new private key: 96 bytes."""
    return Secret(MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw())


def public_of(private: Secret) -> bytes:
    """The public half: 1216 bytes. Raises: ValueError: not 96 bytes."""
    lattice, curve = _halves(private)
    return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def check_public(public: bytes) -> None:
    """Raises: ValueError: not a public key."""
    _public(public)


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to `public`, for the context `info`. Raises: ValueError: not a public key."""
    return _suite.encrypt(plaintext, _public(public), info)


def open(private: Secret, blob: bytes, info: bytes) -> bytes:
    """Open what was sealed to this key for this `info`. Raises: Unreadable: for every cause alike."""
    lattice, curve = _halves(private)
    try:
        return _suite.decrypt(blob, hpke.MLKEM768X25519PrivateKey(lattice, curve), info)
    except (InvalidTag, ValueError):
        pass  # raised below, so that no cause hangs on the error
    raise Unreadable


def _halves(private: Secret) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    raw = private.reveal()
    if len(raw) != PRIVATE_BYTES:
        raise ValueError("a recipient's private key has 96 bytes")
    return MLKEM768PrivateKey.from_seed_bytes(raw[:SEED_BYTES]), X25519PrivateKey.from_private_bytes(raw[SEED_BYTES:])


def _public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_BYTES:
        raise ValueError("a recipient's public key has 1216 bytes")
    lattice = MLKEM768PublicKey.from_public_bytes(public[:-CURVE_BYTES])
    return hpke.MLKEM768X25519PublicKey(lattice, X25519PublicKey.from_public_bytes(public[-CURVE_BYTES:]))
