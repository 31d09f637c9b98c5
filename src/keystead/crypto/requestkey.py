"""RSA keys that sign requests, for clients that know no other kind (OCI's): made here, kept by whoever asks.

private   PKCS#8 in PEM, not encrypted        public   SubjectPublicKeyInfo in PEM
"""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from keystead.core.errors import Refusal
from keystead.core.secret import Secret

BITS = 2048


def generate() -> Secret:
    """A new private key, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Secret(key.private_bytes(serialization.Encoding.PEM, form, none))


def public_of(private: Secret) -> str:
    """The public half, PEM. Raises: Refusal `InvalidKey`."""
    try:
        key = serialization.load_pem_private_key(private.reveal(), password=None)
    except (ValueError, TypeError) as error:
        raise Refusal("InvalidKey", "not a private key in PEM") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < BITS:
        raise Refusal("InvalidKey", f"not an RSA key of at least {BITS} bits")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
