"""Cryptography in batches over REST: one decision and one audit entry for many things, each with its own result."""

from typing import Annotated

from msgspec import Meta

from keystead.core.errors import Refusal
from keystead.vault.use.batch import MAX_ITEMS, Batch
from keystead.web.api.cryptography import (
    BOTH,
    OPEN,
    SEAL,
    Encrypt,
    Into,
    Open,
    Plaintext,
    SignatureBytes,
    Wanted,
    Wrap,
    act,
)
from keystead.web.messages import Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Atomic = Annotated[bool, Meta(description="All or nothing: the first item that fails refuses the whole batch.")]


class EncryptBatch(Message):
    """What to encrypt, item by item."""

    items: Annotated[list[Encrypt], Meta(min_length=1, max_length=MAX_ITEMS)]
    atomic: Atomic = False


class OpenBatch(Message):
    """What to decrypt or unwrap, item by item."""

    items: Annotated[list[Open], Meta(min_length=1, max_length=MAX_ITEMS)]
    atomic: Atomic = False


class RewrapBatch(Message):
    """What to rewrap, item by item, and under which key."""

    items: Annotated[list[Open], Meta(min_length=1, max_length=MAX_ITEMS)]
    atomic: Atomic = False
    target_key_id: Into = None


class WrapBatch(Message):
    """The keys to wrap."""

    items: Annotated[list[Wrap], Meta(min_length=1, max_length=MAX_ITEMS)]
    atomic: Atomic = False


class SignItem(Message):
    """The message, or the digest, as the batch says."""

    message: Plaintext


class VerifyItem(Message):
    """The message or digest, and the signature that should be over it."""

    message: Plaintext
    signature: SignatureBytes


class SignBatch(Message):
    """What to sign by one scheme. `digests`: the messages are digests."""

    items: Annotated[list[SignItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    scheme: Wanted | None = None
    digests: bool = False
    atomic: Atomic = False


class VerifyBatch(Message):
    """What to verify by one scheme and version. `digests`: the messages are digests."""

    items: Annotated[list[VerifyItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    scheme: Wanted | None = None
    digests: bool = False
    key_version: Annotated[int, Meta(ge=1, description="Which version signed; the current one when absent.")] = 0
    atomic: Atomic = False


class ItemError(Message):
    """Why an item has no result: as a single request would have been refused."""

    code: str
    message: str
    hint: str


class CiphertextItem(Message, omit_defaults=True):
    """An envelope, or an error."""

    ciphertext: bytes | None = None
    error: ItemError | None = None


class PlaintextItem(Message, omit_defaults=True):
    """What was encrypted, or an error."""

    plaintext: bytes | None = None
    error: ItemError | None = None


class KeyMaterialItem(Message, omit_defaults=True):
    """What was wrapped, or an error."""

    key_material: bytes | None = None
    error: ItemError | None = None


class SignatureItem(Message, omit_defaults=True):
    """A signature, or an error."""

    signature: bytes | None = None
    error: ItemError | None = None


class ValidItem(Message, omit_defaults=True):
    """Whether the signature holds, or an error."""

    valid: bool | None = None
    error: ItemError | None = None


class CiphertextBatchReply(Message):
    """Envelopes in the order of the items, and which key and version made them."""

    items: list[CiphertextItem]
    failed: int
    key_id: str
    key_version: int


class PlaintextBatchReply(Message):
    """What was encrypted, in the order of the items."""

    items: list[PlaintextItem]
    failed: int


class KeyMaterialBatchReply(Message):
    """What was wrapped, in the order of the items."""

    items: list[KeyMaterialItem]
    failed: int


class SignatureBatchReply(Message):
    """Signatures in the order of the items, and which key and version made them."""

    items: list[SignatureItem]
    failed: int
    key_id: str
    key_version: int


class VerifyBatchReply(Message):
    """Whether each signature holds, in the order of the items. One that does not hold has not failed."""

    items: list[ValidItem]
    failed: int


def encrypt_batch(services: Services, call: Call[EncryptBatch, NoBody]) -> CiphertextBatchReply:
    key, body = call.path["key_id"], call.body
    items = [(item.plaintext, item.associated_data) for item in body.items]
    return _sealed(key, services.vaults.encrypt_batch(call.caller, key, items, atomic=body.atomic))


def wrap_batch(services: Services, call: Call[WrapBatch, NoBody]) -> CiphertextBatchReply:
    key, body = call.path["key_id"], call.body
    items = [(item.key_material, item.associated_data) for item in body.items]
    return _sealed(key, services.vaults.wrap_batch(call.caller, key, items, atomic=body.atomic))


def rewrap_batch(services: Services, call: Call[RewrapBatch, NoBody]) -> CiphertextBatchReply:
    key, body = call.path["key_id"], call.body
    into = body.target_key_id or ""
    made = services.vaults.rewrap_batch(call.caller, key, _pairs(body), atomic=body.atomic, into=into)
    return _sealed(into or key, made)


def decrypt_batch(services: Services, call: Call[OpenBatch, NoBody]) -> PlaintextBatchReply:
    body = call.body
    done = services.vaults.decrypt_batch(call.caller, call.path["key_id"], _pairs(body), atomic=body.atomic)
    items = [
        PlaintextItem(error=_error(each)) if isinstance(each, Refusal) else PlaintextItem(plaintext=each)
        for each in done.results
    ]
    return PlaintextBatchReply(items=items, failed=done.failed)


def unwrap_batch(services: Services, call: Call[OpenBatch, NoBody]) -> KeyMaterialBatchReply:
    body = call.body
    done = services.vaults.unwrap_batch(call.caller, call.path["key_id"], _pairs(body), atomic=body.atomic)
    items = [
        KeyMaterialItem(error=_error(each)) if isinstance(each, Refusal) else KeyMaterialItem(key_material=each)
        for each in done.results
    ]
    return KeyMaterialBatchReply(items=items, failed=done.failed)


def sign_batch(services: Services, call: Call[SignBatch, NoBody]) -> SignatureBatchReply:
    key, body = call.path["key_id"], call.body
    messages = [item.message for item in body.items]
    done = services.vaults.sign_batch(
        call.caller, key, messages, body.scheme or "", digest=body.digests, atomic=body.atomic
    )
    items = [
        SignatureItem(error=_error(each)) if isinstance(each, Refusal) else SignatureItem(signature=each)
        for each in done.results
    ]
    return SignatureBatchReply(items=items, failed=done.failed, key_id=key, key_version=done.key_version)


def verify_batch(services: Services, call: Call[VerifyBatch, NoBody]) -> VerifyBatchReply:
    body = call.body
    done = services.vaults.verify_batch(
        call.caller,
        call.path["key_id"],
        [(item.message, item.signature) for item in body.items],
        body.scheme or "",
        digest=body.digests,
        key_version=body.key_version,
        atomic=body.atomic,
    )
    items = [
        ValidItem(error=_error(each)) if isinstance(each, Refusal) else ValidItem(valid=each) for each in done.results
    ]
    return VerifyBatchReply(items=items, failed=done.failed)


def _pairs(body: OpenBatch | RewrapBatch) -> list[tuple[bytes, bytes]]:
    return [(item.ciphertext, item.associated_data) for item in body.items]


def _sealed(key: str, done: Batch[bytes]) -> CiphertextBatchReply:
    items = [
        CiphertextItem(error=_error(each)) if isinstance(each, Refusal) else CiphertextItem(ciphertext=each)
        for each in done.results
    ]
    return CiphertextBatchReply(items=items, failed=done.failed, key_id=key, key_version=done.key_version)


def _error(refusal: Refusal) -> ItemError:
    return ItemError(code=refusal.code, message=refusal.message, hint=refusal.hint)


_BATCH = f"One decision and one audit entry for 1 to {MAX_ITEMS} items; each item has a result or an error."

OPERATIONS: tuple[Operation, ...] = (
    act(
        "EncryptBatch", "encrypt-batch", "Encrypt many at once", encrypt_batch, EncryptBatch, CiphertextBatchReply,
        SEAL, _BATCH,
    ),
    act(
        "DecryptBatch", "decrypt-batch", "Decrypt many at once", decrypt_batch, OpenBatch, PlaintextBatchReply, OPEN,
        _BATCH,
    ),
    act("WrapBatch", "wrap-batch", "Wrap many at once", wrap_batch, WrapBatch, CiphertextBatchReply, SEAL, _BATCH),
    act(
        "UnwrapBatch", "unwrap-batch", "Unwrap many at once", unwrap_batch, OpenBatch, KeyMaterialBatchReply, OPEN,
        _BATCH,
    ),
    act(
        "RewrapBatch", "rewrap-batch", "Bring many ciphertexts to the key's current version, or under another key",
        rewrap_batch, RewrapBatch,
        CiphertextBatchReply, BOTH, _BATCH,
    ),
    act(
        "SignBatch", "sign-batch", "Sign many at once", sign_batch, SignBatch, SignatureBatchReply, ("KEY_SIGN",),
        _BATCH,
    ),
    act(
        "VerifyBatch", "verify-batch", "Check many signatures at once", verify_batch, VerifyBatch, VerifyBatchReply,
        ("KEY_VERIFY",), _BATCH,
    ),
)  # fmt: skip
