"""How a token's key wraps 32 bytes, and signs.

    wrapped = way u8 | ...
      1  nonce (12) | AES-GCM ciphertext | tag (16)     CKM_AES_GCM, the nonce random: at most 2^32 wraps per key
      2  AES key wrap, 40 bytes                         CKM_AES_KEY_WRAP: for tokens that choose nonces themselves
      3  RSA-OAEP, SHA-256 twice                        CKM_RSA_PKCS_OAEP
      4  RSA-OAEP, SHA-1 twice                          the same, for tokens that have no other (SoftHSM 2.6)

A key's way is the first of its kind that the token brings through there and back (`choose`); what was wrapped by one
way opens by that way for ever. OAEP with SHA-1 is as strong as with SHA-256: its proof asks neither hash for collision
resistance (RFC 8017, 7.1; NIST SP 800-56B, 7.2.2). It is second because rules of thumb forbid the name.

Tokens word "this does not open" in many ways, SoftHSM as CKR_GENERAL_ERROR, which is also how it words an outage. So
where a token says no, the same key is asked to open something known: it does: `Unreadable`; it does not: an outage.

Hashing is done here: a token sees digests, so that messages of any size cost it the same. ECDSA by CKM_ECDSA, RSA-PSS
by CKM_RSA_PKCS_PSS, PKCS #1 by CKM_RSA_PKCS over DigestInfo, Ed25519 by CKM_EDDSA over the message itself.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from keystead.adapters.keystores.token import Opened, Retry
from keystead.core.errors import Refusal, Unreadable
from keystead.crypto.suites import Scheme

AES_GCM, AES_KW, OAEP_SHA256, OAEP_SHA1 = 1, 2, 3, 4
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
# DER of DigestInfo up to the digest (RFC 8017, 9.2, note 1)
_DIGEST_INFO: Final = {
    "SHA256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "SHA384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "SHA512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


@dataclass(frozen=True, slots=True)
class Handles:
    """A key in a session: `private` opens and signs, `public` wraps; one and the same for AES."""

    private: Any
    public: Any


def choose(opened: Opened, key: Handles, ways: tuple[int, ...]) -> int:
    """The first of `ways` by which this key wraps and unwraps. Raises: Refusal, the token has none."""
    import pkcs11

    for way in ways:
        probe = secrets.token_bytes(KEY_BYTES)
        try:
            if _unwrap(opened, key, _wrap(opened, key, way, probe)) == probe:
                return way
        except (pkcs11.PKCS11Error, TypeError, ValueError):
            continue
    raise Refusal(
        "WrongOperation",
        "the token cannot wrap with a key of this kind",
        hint="it needs CKM_AES_GCM, CKM_AES_KEY_WRAP or CKM_RSA_PKCS_OAEP",
        kind="conflict",
    )


def wrap(opened: Opened, key: Handles, way: int, material: bytes) -> bytes:
    """32 bytes, wrapped. Raises: pkcs11.PKCS11Error."""
    return _wrap(opened, key, way, material)


def unwrap(opened: Opened, key: Handles, wrapped: bytes, ways: tuple[int, ...]) -> bytes:
    """What `wrap` was given.

    Raises:
        Unreadable: for every cause alike.
        Retry: the token says no, and to what must open as well.
    """
    import pkcs11

    if not wrapped or wrapped[0] not in ways:
        raise Unreadable
    no: Exception
    try:
        found = _unwrap(opened, key, wrapped)
        if len(found) == KEY_BYTES:
            return found
        raise Unreadable
    except pkcs11.PKCS11Error as error:
        if isinstance(error, pkcs11.SessionHandleInvalid | pkcs11.SessionClosed | pkcs11.UserNotLoggedIn):
            raise
        no = error
    probe = secrets.token_bytes(KEY_BYTES)
    try:
        works = _unwrap(opened, key, _wrap(opened, key, wrapped[0], probe)) == probe
    except pkcs11.PKCS11Error:
        raise Retry from no
    if not works:
        raise Retry from no
    raise Unreadable from None


def sign(opened: Opened, key: Handles, message: bytes, scheme: Scheme, *, digest: bool, curve_bytes: int) -> bytes:
    """A signature as the standards write it (ECDSA: DER). Raises: Refusal (digest), pkcs11.PKCS11Error."""
    from pkcs11 import MGF, Mechanism
    from pkcs11.util.ec import encode_ecdsa_signature

    if scheme == "ED25519":
        if digest:
            raise Refusal("InvalidParameter", f"{scheme} signs messages, not digests", hint="send the message itself")
        return bytes(key.private.sign(message, mechanism=Mechanism.EDDSA))
    name = scheme.rpartition("-")[2]
    hashed = _digest(name, message, digest, scheme)
    if scheme.startswith("ECDSA"):
        # The leftmost bits, as many as the order has (FIPS 186-5, 6.4.1): not every token does that by itself.
        return bytes(encode_ecdsa_signature(key.private.sign(hashed[:curve_bytes], mechanism=Mechanism.ECDSA)))
    if "-PSS-" in scheme:
        given = (Mechanism[name], MGF[name], len(hashed))
        return bytes(key.private.sign(hashed, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=given))
    return bytes(key.private.sign(_DIGEST_INFO[name] + hashed, mechanism=Mechanism.RSA_PKCS))


def _digest(name: str, message: bytes, digest: bool, scheme: str) -> bytes:
    if not digest:
        return hashlib.new(name.lower(), message).digest()
    size = hashlib.new(name.lower()).digest_size
    if len(message) != size:
        raise Refusal("InvalidParameter", f"a digest for {scheme} has {size} bytes")
    return message


def _wrap(opened: Opened, key: Handles, way: int, material: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    prefix = bytes((way,))
    match way:
        case 1:
            nonce = secrets.token_bytes(NONCE_BYTES)
            gcm = GCMParams(nonce, None, TAG_BITS)
            return (
                prefix + nonce + bytes(key.public.encrypt(material, mechanism=Mechanism.AES_GCM, mechanism_param=gcm))
            )
        case 2:
            return prefix + _through_object(opened, material, lambda it: key.public.wrap_key(it, mechanism=_kw()))
        case _:
            given = _oaep(way)
            return prefix + bytes(
                key.public.encrypt(material, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=given)
            )


def _unwrap(opened: Opened, key: Handles, wrapped: bytes) -> bytes:
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

    way, body = wrapped[0], wrapped[1:]
    match way:
        case 1:
            if len(body) != NONCE_BYTES + KEY_BYTES + TAG_BITS // 8:
                raise Unreadable
            given = GCMParams(body[:NONCE_BYTES], None, TAG_BITS)
            found = key.private.decrypt(body[NONCE_BYTES:], mechanism=Mechanism.AES_GCM, mechanism_param=given)
            return bytes(found)
        case 2:
            template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False}
            made = key.private.unwrap_key(
                ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, body, mechanism=_kw(), template=template
            )
            try:
                return bytes(made[Attribute.VALUE])
            finally:
                made.destroy()
        case _:
            return bytes(key.private.decrypt(body, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep(way)))


def _through_object(opened: Opened, material: bytes, act: Callable[[Any], bytes]) -> bytes:
    """C_WrapKey takes objects, not bytes: one that lives in this session, for this moment."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    made = opened.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: False,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
            Attribute.VALUE: material,
        }
    )
    try:
        return bytes(act(made))
    finally:
        made.destroy()


def _kw() -> Any:
    from pkcs11 import Mechanism

    return Mechanism.AES_KEY_WRAP


def _oaep(way: int) -> tuple[Any, Any, None]:
    from pkcs11 import MGF, Mechanism

    return (Mechanism.SHA256, MGF.SHA256, None) if way == OAEP_SHA256 else (Mechanism.SHA_1, MGF.SHA1, None)
