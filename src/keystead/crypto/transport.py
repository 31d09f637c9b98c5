"""Key material on its way into the vault: wrapped for one wrapping key, by whoever has its public half.

    way                      wrapping key   wrapped material
    HPKE-X25519-MLKEM768     X-Wing         encapsulation (1120) | ciphertext and tag     any material; post-quantum
    RSA-AES-KWP              RSA-4096       RSA-OAEP-SHA256(fresh AES-256 key) | AES-KWP(material)    any material
    RSA-OAEP-SHA256          RSA-4096       RSA-OAEP-SHA256(material)                     at most 446 bytes

RSA-AES-KWP is what PKCS #11 calls CKM_RSA_AES_KEY_WRAP and OCI RSA_OAEP_AES_SHA256. Transfer blobs (`byok`) hold the
same with SHA-1 inside OAEP, so `unwrap_transfer` takes either; OAEP does not need its hash to be free of collisions.
"""

import contextlib
from typing import Literal, get_args

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.asymmetric import PrivateKey, PublicKey
from keystead.crypto.suites import Algorithm, Suite, suite_of
from keystead.crypto.wrap import rsa_aes_unwrap, rsa_aes_wrap

Way = Literal["HPKE-X25519-MLKEM768", "RSA-AES-KWP", "RSA-OAEP-SHA256"]
WAYS: tuple[Way, ...] = get_args(Way)
MAX_WRAPPED = 16 * 1024
_KEYS: dict[Way, Algorithm] = {
    "HPKE-X25519-MLKEM768": "HPKE-X25519-MLKEM768",
    "RSA-AES-KWP": "RSA-4096",
    "RSA-OAEP-SHA256": "RSA-4096",
}
_SHA1 = hashes.SHA1()  # noqa: S303  # as transfer blobs are written; see above
_OAEP_SHA1 = padding.OAEP(mgf=padding.MGF1(_SHA1), algorithm=_SHA1, label=None)


def way_of(name: str) -> Way:
    """The way of that name. Raises: Refusal, there is none."""
    for known in WAYS:
        if known == name:
            return known
    raise Refusal("InvalidParameter", f"there is no way to wrap called {name!r}", hint=f"there are: {', '.join(WAYS)}")


def wrapping_suite(way: Way) -> Suite:
    """What kind of key wraps in this way."""
    return suite_of(_KEYS[way])


def wrap(way: Way, spki: bytes, material: Secret) -> bytes:
    """`material` for the wrapping key whose public half is `spki`.

    Raises:
        Refusal: `InvalidKey` (not such a public half), `TooLarge` (RSA-OAEP-SHA256 alone).
    """
    public = PublicKey(wrapping_suite(way), spki)
    if way != "RSA-AES-KWP":
        return public.wrap(material.reveal())
    return rsa_aes_wrap(_Wraps(public), material.reveal())


def unwrap(way: Way, private: Secret, wrapped: bytes) -> Secret:
    """What `wrap` was given. Raises: Unreadable, for every cause alike."""
    key = PrivateKey(wrapping_suite(way), private)
    if len(wrapped) > MAX_WRAPPED:
        raise Unreadable
    if way == "RSA-AES-KWP":
        return Secret(rsa_aes_unwrap(key, key.suite.bits // 8, wrapped))
    return Secret(key.unwrap(wrapped))


def unwrap_transfer(private: Secret, wrapped: bytes) -> Secret:
    """The material in a transfer blob: RSA-AES-KWP with SHA-256 or SHA-1. Raises: Unreadable."""
    with contextlib.suppress(Unreadable):
        return unwrap("RSA-AES-KWP", private, wrapped)
    suite = wrapping_suite("RSA-AES-KWP")
    return Secret(rsa_aes_unwrap(_OaepSha1(private), suite.bits // 8, wrapped[: MAX_WRAPPED + 1]))


class _Wraps:
    """A public half as `KeyWrapping`; it cannot unwrap."""

    def __init__(self, public: PublicKey) -> None:
        self._public = public

    def wrap(self, key: bytes) -> bytes:
        return self._public.wrap(key)

    def unwrap(self, wrapped: bytes) -> bytes:
        raise Unreadable


class _OaepSha1:
    """An RSA private key that unwraps by OAEP with SHA-1."""

    def __init__(self, private: Secret) -> None:
        found = serialization.load_der_private_key(private.reveal(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(found, rsa.RSAPrivateKey):
            raise Unreadable
        self._key = found

    def wrap(self, key: bytes) -> bytes:
        return self._key.public_key().encrypt(key, _OAEP_SHA1)

    def unwrap(self, wrapped: bytes) -> bytes:
        with contextlib.suppress(Exception):
            return self._key.decrypt(wrapped, _OAEP_SHA1)
        raise Unreadable
