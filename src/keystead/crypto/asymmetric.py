"""Software keys that have two halves: RSA, elliptic curves, Ed25519, ML-DSA, and the hybrid X-Wing.

Promise: the material that `generate` returns is all that has to be kept of a key; `PrivateKey` makes the same key of it
again. Signatures and wrapped keys are those of the standards, byte for byte, so that other implementations read them.

    algorithm             material (kept secret)          public half: SPKI DER
    RSA-*, EC-*           PKCS#8 DER                      RFC 8017, RFC 5480
    ED25519               seed, 32 bytes (RFC 8032)       RFC 8410
    ML-DSA-65             seed, 32 bytes (FIPS 204)       RFC 9881
    HPKE-X25519-MLKEM768  seed, 32 bytes (X-Wing)         X-Wing's object identifier, the 1216 bytes below

    X-Wing: SHAKE256(seed, 96) = ML-KEM-768 seed d || z (64) || X25519 scalar (32); public = ML-KEM || X25519

Signatures: ECDSA as DER (SEQUENCE of r and s); RSA-PSS with MGF1 of the same hash and a salt as long as the hash, no
other is accepted; ML-DSA without context. Where a digest is given instead of the message, it is the scheme's hash of
it; Ed25519 and ML-DSA take messages alone.
Wrapping: RSA-OAEP with SHA-256 twice and no label; HPKE base mode, KEM 0x647a, HKDF-SHA256, AES-256-GCM, as
encapsulation || ciphertext.

Sources: RFC 8017, FIPS 186-5, FIPS 204, RFC 9180, draft-ietf-hpke-pq, draft-connolly-cfrg-xwing-kem.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from typing import NoReturn, assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils, x25519

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.suites import Suite, wrong_operation

SEED_BYTES = 32
PUBLIC_EXPONENT = 65537
MLKEM_PUBLIC_BYTES = 1184
XWING_PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + 32
HPKE_ENC_BYTES = 1120
HPKE_INFO = b"keystead key wrapping v1"
# SEQUENCE { SEQUENCE { OID 1.3.6.1.4.1.62253.25722 }, BIT STRING of 1216 bytes }
_XWING_SPKI = bytes.fromhex("308204d4300d060b2b0601040183e62d81c87a038204c100")

_CURVES: dict[int, Callable[[], ec.EllipticCurve]] = {256: ec.SECP256R1, 384: ec.SECP384R1, 521: ec.SECP521R1}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_HPKE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo

Half = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | mldsa.MLDSA65PublicKey
    | hpke.MLKEM768X25519PublicKey
)
Whole = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA65PrivateKey
    | hpke.MLKEM768X25519PrivateKey
)


class PublicKey:
    """The public half: it verifies and wraps. Freely shared; thread-safe."""

    __slots__ = ("_key", "spki", "suite")

    def __init__(self, suite: Suite, spki: bytes) -> None:
        """From its SPKI DER.

        Raises:
            Refusal: `InvalidKey`, not a public key of this algorithm.
        """
        self.suite = suite
        self.spki = spki
        self._key = _load_public(suite, spki)

    @property
    def key(self) -> Half:
        """The library's object."""
        return self._key

    def verify(self, message: bytes, signature: bytes, scheme: str = "", *, digest: bool = False) -> bool:
        """Whether `signature` is this key's over `message` (with `digest`: over what has that digest).

        Raises:
            Refusal: `WrongOperation`, `InvalidParameter` (the scheme is not this algorithm's, or takes no digest).
        """
        name = self.suite.scheme(scheme)
        try:
            match self._key:
                case rsa.RSAPublicKey():
                    self._key.verify(signature, message, *_rsa_way(name, message, digest))
                case ec.EllipticCurvePublicKey():
                    self._key.verify(signature, message, ec.ECDSA(_hash_way(name, message, digest)))
                case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey():
                    _message_only(name, digest)
                    self._key.verify(signature, message)
                case hpke.MLKEM768X25519PublicKey():
                    raise wrong_operation(self.suite.name, "verify")
                case _:
                    assert_never(self._key)
        except InvalidSignature:
            return False
        return True

    def wrap(self, key: bytes) -> bytes:
        """Wrap a short key so that the private half alone unwraps it.

        Raises:
            Refusal: `WrongOperation`; `TooLarge` (RSA: longer than the modulus minus 66 bytes).
        """
        match self._key:
            case rsa.RSAPublicKey():
                if len(key) > self.suite.bits // 8 - 66:
                    raise Refusal("TooLarge", f"{self.suite.name} wraps at most {self.suite.bits // 8 - 66} bytes")
                return self._key.encrypt(key, _OAEP)
            case hpke.MLKEM768X25519PublicKey():
                return _HPKE.encrypt(key, self._key, info=HPKE_INFO)
            case _:
                raise wrong_operation(self.suite.name, "wrap")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.suite.name})"


class PrivateKey:
    """Both halves, ready for use: it signs and unwraps. A `KeyWrapping`. Thread-safe; neither pickled nor copied."""

    __slots__ = ("_key", "public", "suite")

    def __init__(self, suite: Suite, material: Secret) -> None:
        """From the material that was kept, which is trusted to be whole: what comes from outside is `check`ed first.

        Raises:
            Refusal: `InvalidKey`, not a key of this algorithm.
        """
        self.suite = suite
        self._key, spki = _load_private(suite, material)
        self.public = PublicKey(suite, spki)

    def sign(self, message: bytes, scheme: str = "", *, digest: bool = False) -> bytes:
        """The signature over `message` (with `digest`: over what has that digest) by `scheme`, or the usual one.

        Raises:
            Refusal: `WrongOperation`, `InvalidParameter` (the scheme is not this algorithm's, or takes no digest).
        """
        name = self.suite.scheme(scheme)
        match self._key:
            case rsa.RSAPrivateKey():
                return self._key.sign(message, *_rsa_way(name, message, digest))
            case ec.EllipticCurvePrivateKey():
                return self._key.sign(message, ec.ECDSA(_hash_way(name, message, digest)))
            case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey():
                _message_only(name, digest)
                return self._key.sign(message)
            case hpke.MLKEM768X25519PrivateKey():
                raise wrong_operation(self.suite.name, "sign")
            case _:
                assert_never(self._key)

    def verify(self, message: bytes, signature: bytes, scheme: str = "", *, digest: bool = False) -> bool:
        """As the public half."""
        return self.public.verify(message, signature, scheme, digest=digest)

    def wrap(self, key: bytes) -> bytes:
        """As the public half."""
        return self.public.wrap(key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given.

        Raises:
            Unreadable: for every cause alike.
            Refusal: `WrongOperation`.
        """
        key = self._key
        if not isinstance(key, rsa.RSAPrivateKey | hpke.MLKEM768X25519PrivateKey):
            raise wrong_operation(self.suite.name, "unwrap")
        # The library words bad padding, length and tag each in its own way; what it says does not hang on our error.
        with contextlib.suppress(Exception):
            if isinstance(key, rsa.RSAPrivateKey):
                return key.decrypt(wrapped, _OAEP)
            return _HPKE.decrypt(wrapped, key, info=HPKE_INFO)
        raise Unreadable

    def __repr__(self) -> str:
        return f"PrivateKey({self.suite.name})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a private key is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


def generate(suite: Suite) -> Secret:
    """The material of a new random key.

    Raises:
        ValueError: the algorithm has no two halves.
    """
    match suite.family:
        case "rsa":
            return pkcs8(rsa.generate_private_key(PUBLIC_EXPONENT, suite.bits))
        case "ec":
            return pkcs8(ec.generate_private_key(_CURVES[suite.bits]()))
        case "ed25519" | "ml-dsa" | "hpke":
            return Secret(secrets.token_bytes(SEED_BYTES))
        case "aes":
            raise ValueError("an AES key has no halves")
        case _:
            assert_never(suite.family)


def check(suite: Suite, material: Secret) -> None:
    """Whether material from outside is a sound key of this algorithm, for all that can be told.

    Raises:
        Refusal: `InvalidKey`.
    """
    if suite.family in ("rsa", "ec"):
        sound = False
        try:
            key = serialization.load_der_private_key(material.reveal(), None)
            sound = not isinstance(key, rsa.RSAPrivateKey) or key.public_key().public_numbers().e >= PUBLIC_EXPONENT
        except (ValueError, TypeError, UnsupportedAlgorithm):
            pass
        if not sound:
            raise invalid_key(suite)
    _load_private(suite, material)


def invalid_key(suite: Suite) -> Refusal:
    """What was given is not such a key; what it is instead is not said."""
    return Refusal("InvalidKey", f"this is not a sound key of {suite.name}")


def _load_private(suite: Suite, material: Secret) -> tuple[Whole, bytes]:
    """The private key in `material`, and its public half as SPKI DER."""
    try:
        raw = material.reveal()
        match suite.family:
            case "rsa" | "ec":
                # Checked when it was made or imported, and authenticated since: not again at each start.
                return _fitting(
                    suite, serialization.load_der_private_key(raw, None, unsafe_skip_rsa_key_validation=True)
                )
            case "ed25519":
                signing = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
                return signing, signing.public_key().public_bytes(_DER, _SPKI)
            case "ml-dsa":
                lattice = mldsa.MLDSA65PrivateKey.from_seed_bytes(raw)
                return lattice, lattice.public_key().public_bytes(_DER, _SPKI)
            case "hpke":
                return _xwing(raw)
            case "aes":
                pass
            case _:
                assert_never(suite.family)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass  # raised below: what a parser says of a secret does not hang on the error
    raise invalid_key(suite)


def _fitting(suite: Suite, key: object) -> tuple[Whole, bytes]:
    if isinstance(key, rsa.RSAPrivateKey) and suite.family == "rsa" and key.key_size == suite.bits:
        return key, key.public_key().public_bytes(_DER, _SPKI)
    if isinstance(key, ec.EllipticCurvePrivateKey) and suite.family == "ec" and _is_curve(suite, key.curve):
        return key, key.public_key().public_bytes(_DER, _SPKI)
    raise ValueError("another kind of key")


def _xwing(seed: bytes) -> tuple[Whole, bytes]:
    if len(seed) != SEED_BYTES:
        raise ValueError("an X-Wing seed has 32 bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return hpke.MLKEM768X25519PrivateKey(lattice, curve), _XWING_SPKI + public


def _load_public(suite: Suite, spki: bytes) -> Half:
    try:
        if suite.family == "hpke":
            raw = spki.removeprefix(_XWING_SPKI)
            if len(raw) == XWING_PUBLIC_BYTES and len(spki) != len(raw):
                return hpke.MLKEM768X25519PublicKey(
                    mlkem.MLKEM768PublicKey.from_public_bytes(raw[:MLKEM_PUBLIC_BYTES]),
                    x25519.X25519PublicKey.from_public_bytes(raw[MLKEM_PUBLIC_BYTES:]),
                )
            raise invalid_key(suite)
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise invalid_key(suite) from None
    if isinstance(key, rsa.RSAPublicKey) and suite.family == "rsa" and key.key_size == suite.bits:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and suite.family == "ec" and _is_curve(suite, key.curve):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey) and suite.family == "ed25519":
        return key
    if isinstance(key, mldsa.MLDSA65PublicKey) and suite.family == "ml-dsa":
        return key
    raise invalid_key(suite)


def _is_curve(suite: Suite, curve: ec.EllipticCurve) -> bool:
    return curve.name == _CURVES[suite.bits]().name


def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Secret:
    """The material of a key of RSA or of an elliptic curve."""
    return Secret(
        key.private_bytes(_DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _rsa_way(
    scheme: str, message: bytes, digest: bool
) -> tuple[padding.PSS | padding.PKCS1v15, hashes.HashAlgorithm | utils.Prehashed]:
    algorithm = _HASHES[scheme.rpartition("-")[2]]
    way = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if "-PSS-" in scheme else padding.PKCS1v15()
    return way, _hash_way(scheme, message, digest)


def _hash_way(scheme: str, message: bytes, digest: bool) -> hashes.HashAlgorithm | utils.Prehashed:
    algorithm = _HASHES[scheme.rpartition("-")[2]]
    if not digest:
        return algorithm
    if len(message) != algorithm.digest_size:
        raise Refusal("InvalidParameter", f"a digest for {scheme} has {algorithm.digest_size} bytes")
    return utils.Prehashed(algorithm)


def _message_only(scheme: str, digest: bool) -> None:
    if digest:
        raise Refusal("InvalidParameter", f"{scheme} signs messages, not digests", hint="send the message itself")
