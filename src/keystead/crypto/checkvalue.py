"""Key-check values: by which two who hold a key learn that it is the same, without showing it.

    AES-CMAC:<10 hex>       symmetric keys: the first five bytes of AES-CMAC over a block of zeros (ANSI X9.24-1)
    SPKI-SHA256:<64 hex>    keys with two halves: SHA-256 of the public half as SubjectPublicKeyInfo (DER)

Five bytes tell two keys apart and tell nothing of use about either. What `openssl mac` and `openssl pkey -pubout
-outform DER | sha256sum` print is the same.
"""

import hashlib

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from keystead.core.secret import Secret
from keystead.crypto.asymmetric import PrivateKey
from keystead.crypto.suites import Suite

CMAC_BYTES = 5


def of_material(suite: Suite, material: Secret) -> str:
    """The check value of a key. Raises: Refusal, `InvalidKey`."""
    if suite.asymmetric:
        return of_public(PrivateKey(suite, material).public.spki)
    code = CMAC(AES(material.reveal()))
    code.update(bytes(16))
    return f"AES-CMAC:{code.finalize()[:CMAC_BYTES].hex()}"


def of_public(spki: bytes) -> str:
    """The check value of a key with two halves, from its public one."""
    return f"SPKI-SHA256:{hashlib.sha256(spki).hexdigest()}"
