"""Cryptography with keys over REST, one thing at a time.

Bytes travel as base64 (RFC 4648 section 4, with padding). The replies of the hot path are built from the request's own
path and what the service returned; nothing is looked up a second time.

These run on the event loop, but for keys whose use takes long or waits for a keystore: those run in the pool.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from msgspec import Meta

from keystead.core.errors import Refusal
from keystead.crypto.suites import SCHEMES, Scheme
from keystead.vault.use.operations import MAX_RANDOM
from keystead.web.messages import KeyRef, Message
from keystead.web.operations import Call, NoBody, Operation, Waits
from keystead.web.services import Services

# Room for 64 KiB of plaintext in an envelope.
Ciphertext = Annotated[bytes, Meta(max_length=70_000, description="An envelope made by this key.")]
Plaintext = Annotated[bytes, Meta(description="At most 64 KiB.")]
AssociatedData = Annotated[
    bytes, Meta(max_length=8192, description="Authenticated, not encrypted; must be given again to open.")
]
Wanted = Annotated[Scheme, Meta(description="How to sign; the algorithm's usual scheme when absent.")]
SignatureBytes = Annotated[bytes, Meta(max_length=4096, description="ECDSA as DER, others as their standard has them.")]
ONE = (None,)


class Encrypt(Message):
    """What to encrypt."""

    plaintext: Plaintext
    associated_data: AssociatedData = b""


class Open(Message):
    """What to decrypt or unwrap."""

    ciphertext: Ciphertext
    associated_data: AssociatedData = b""


Into = Annotated[KeyRef | None, Meta(description="The key to wrap under; the same key when absent.")]


class Rewrap(Message):
    """What to rewrap, and under which key."""

    ciphertext: Ciphertext
    associated_data: AssociatedData = b""
    target_key_id: Into = None


class Wrap(Message):
    """The key to wrap."""

    key_material: Plaintext
    associated_data: AssociatedData = b""


class GenerateDataKey(Message):
    """How the new data key is wanted."""

    associated_data: AssociatedData = b""
    include_plaintext: bool = True
    length: Annotated[int, Meta(description="Bytes: 16, 24, 32, 48 or 64.")] = 32


class Sign(Message):
    """The message to sign, or its digest by the scheme's hash: one of the two."""

    message: Plaintext | None = None
    digest: Annotated[bytes, Meta(max_length=64)] | None = None
    scheme: Wanted | None = None


class Verify(Message):
    """A signature, and the message or digest that it should be over."""

    signature: SignatureBytes
    message: Plaintext | None = None
    digest: Annotated[bytes, Meta(max_length=64)] | None = None
    scheme: Wanted | None = None
    key_version: Annotated[int, Meta(ge=1, description="Which version signed; the current one when absent.")] = 0


class GenerateRandom(Message):
    """How many random bytes."""

    length: Annotated[int, Meta(ge=1, le=MAX_RANDOM)] = 32


class PublicKeyQuery(Message):
    """Which version."""

    key_version: Annotated[int, Meta(ge=1, description="The current one when absent.")] | None = None


class CiphertextReply(Message):
    """An envelope, and which key and version made it."""

    ciphertext: bytes
    key_id: str
    key_version: int


class PlaintextReply(Message):
    """What was encrypted."""

    plaintext: bytes


class KeyMaterialReply(Message):
    """What was wrapped."""

    key_material: bytes


class DataKeyReply(Message):
    """A fresh data key: wrapped, and in clear when that was asked for."""

    ciphertext: bytes
    plaintext: bytes | None
    key_id: str
    key_version: int


class SignatureReply(Message):
    """A signature, how it was made, and which key and version made it."""

    signature: bytes
    scheme: str
    key_id: str
    key_version: int


class VerifyReply(Message):
    """Whether the signature holds."""

    valid: bool


class PublicKeyReply(Message):
    """The public half of a key version, in PEM (SubjectPublicKeyInfo) and as JWK."""

    key_id: str
    key_version: int
    algorithm: str
    schemes: list[str]
    pem: str
    jwk: dict[str, str]


class RandomReply(Message):
    """Random bytes."""

    random_bytes: bytes


# batches


def encrypt(services: Services, call: Call[Encrypt, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.encrypt(call.caller, key, body.plaintext, body.associated_data)
    return CiphertextReply(ciphertext=made.blob, key_id=key, key_version=made.key_version)


def decrypt(services: Services, call: Call[Open, NoBody]) -> PlaintextReply:
    body = call.body
    return PlaintextReply(
        plaintext=services.vaults.decrypt(call.caller, call.path["key_id"], body.ciphertext, body.associated_data)
    )


def wrap(services: Services, call: Call[Wrap, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.wrap(call.caller, key, body.key_material, body.associated_data)
    return CiphertextReply(ciphertext=made.blob, key_id=key, key_version=made.key_version)


def unwrap(services: Services, call: Call[Open, NoBody]) -> KeyMaterialReply:
    body = call.body
    return KeyMaterialReply(
        key_material=services.vaults.unwrap(call.caller, call.path["key_id"], body.ciphertext, body.associated_data)
    )


def rewrap(services: Services, call: Call[Rewrap, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    into = body.target_key_id or ""
    made = services.vaults.rewrap(call.caller, key, body.ciphertext, body.associated_data, into)
    return CiphertextReply(ciphertext=made.blob, key_id=into or key, key_version=made.key_version)


def generate_data_key(services: Services, call: Call[GenerateDataKey, NoBody]) -> DataKeyReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.generate_data_key(
        call.caller, key, body.associated_data, plaintext_wanted=body.include_plaintext, length=body.length
    )
    return DataKeyReply(ciphertext=made.blob, plaintext=made.plaintext, key_id=key, key_version=made.key_version)


def sign(services: Services, call: Call[Sign, NoBody]) -> SignatureReply:
    key, body = call.path["key_id"], call.body
    message, digest = either(body)
    made = services.vaults.sign(call.caller, key, message, body.scheme or "", digest=digest)
    return SignatureReply(signature=made.signature, scheme=made.scheme, key_id=key, key_version=made.key_version)


def verify(services: Services, call: Call[Verify, NoBody]) -> VerifyReply:
    key, body = call.path["key_id"], call.body
    message, digest = either(body)
    return VerifyReply(
        valid=services.vaults.verify(
            call.caller, key, message, body.signature, body.scheme or "", digest=digest, key_version=body.key_version
        )
    )


def public_key(services: Services, call: Call[NoBody, PublicKeyQuery]) -> PublicKeyReply:
    key = call.path["key_id"]
    found = services.vaults.public_key(call.caller, key, call.query.key_version or 0)
    return PublicKeyReply(
        key_id=key,
        key_version=found.key_version,
        algorithm=found.algorithm,
        schemes=list(found.schemes),
        pem=found.pem,
        jwk=dict(found.jwk),
    )


def generate_random(services: Services, call: Call[GenerateRandom, NoBody]) -> RandomReply:
    made = services.vaults.random_bytes(call.caller, call.path["vault_id"], call.body.length)
    return RandomReply(random_bytes=made)


def waits(services: Services, call: Call[Any, Any]) -> Waits:
    """What using the key of this request may have to wait for."""
    items = len(getattr(call.body, "items", ONE))
    found = services.vaults.waits(call.path["key_id"], items)
    into = getattr(call.body, "target_key_id", None)
    if into is None or found in ("hsm", "external"):
        return found
    return services.vaults.waits(into, items) or found


def either(body: Sign | Verify) -> tuple[bytes, bool]:
    """What is to be signed or verified, and whether it is a digest. Raises: Refusal, not one of the two."""
    if body.digest is None and body.message is not None:
        return body.message, False
    if body.digest is not None and body.message is None:
        return body.digest, True
    raise Refusal("InvalidParameter", "either message or digest is needed", hint="send exactly one of the two")


def act(
    name: str,
    verb: str,
    summary: str,
    handler: Callable[[Services, Call[Any, Any]], Any],
    request: type,
    reply: type,
    permissions: Sequence[str],
    description: str = "",
) -> Operation:
    return Operation(
        name,
        "POST",
        f"/keys/{{key_id}}/actions/{verb}",
        summary,
        handler,
        "cryptography",
        request=request,
        reply=reply,
        permissions=tuple(permissions),
        runs="loop",
        waits=waits,
        description=description,
    )


_SCHEMES = f"Schemes: {', '.join(SCHEMES)}. Larger messages: send the digest."
_LIMIT = "What is larger: generate a data key and encrypt with that."
SEAL, OPEN, BOTH = ("KEY_ENCRYPT",), ("KEY_DECRYPT",), ("KEY_DECRYPT", "KEY_ENCRYPT")

OPERATIONS: tuple[Operation, ...] = (
    act("Encrypt", "encrypt", "Encrypt at most 64 KiB", encrypt, Encrypt, CiphertextReply, SEAL, _LIMIT),
    act("Decrypt", "decrypt", "Decrypt what encrypt made", decrypt, Open, PlaintextReply, OPEN),
    act("Wrap", "wrap", "Wrap a key of your own", wrap, Wrap, CiphertextReply, SEAL, _LIMIT),
    act("Unwrap", "unwrap", "Unwrap what wrap or generate-data-key made", unwrap, Open, KeyMaterialReply, OPEN),
    act(
        "Rewrap", "rewrap", "Bring a ciphertext to the key's current version, or under another key", rewrap, Rewrap,
        CiphertextReply, BOTH,
        "What is inside is not shown. Under another key: KEY_DECRYPT on this one, KEY_ENCRYPT on that one.",
    ),
    act(
        "GenerateDataKey", "generate-data-key", "Make a fresh data key", generate_data_key, GenerateDataKey,
        DataKeyReply, SEAL,
    ),
    act("Sign", "sign", "Sign at most 64 KiB, or a digest", sign, Sign, SignatureReply, ("KEY_SIGN",), _SCHEMES),
    act("Verify", "verify", "Check a signature", verify, Verify, VerifyReply, ("KEY_VERIFY",), _SCHEMES),
    Operation(
        "GetPublicKey", "GET", "/keys/{key_id}/public-key", "Show the public half of a key", public_key, "cryptography",
        query=PublicKeyQuery, reply=PublicKeyReply, permissions=("KEY_READ",),
        description="Asymmetric keys alone have one. It is shown whatever state the key is in.",
    ),
    Operation(
        "GenerateRandom", "POST", "/vaults/{vault_id}/actions/generate-random", "Make random bytes", generate_random,
        "cryptography", request=GenerateRandom, reply=RandomReply, permissions=("VAULT_READ",),
    ),
)  # fmt: skip
