"""The transit engine of the Vault dialect: keys, and cryptography with them, many at once or one.

    ciphertext, signature, MAC    vault:v<version>:<base64>        an envelope of ours, a signature, a MAC

Promise: what is encrypted here is decrypted by our API and the other way round (strip the prefix), data keys too; a key
that may not be used says so in Vault's words. Input that cannot be read is refused before the key is looked for, so
that the refusal tells nothing about it. What Vault does and this does not: docs/dialects/vault.md.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keystead.core.errors import Refusal, Unreadable
from keystead.crypto.envelope import peek
from keystead.web.dialects.common import Loose
from keystead.web.dialects.vault_keys import MOUNT, key_of, path_of
from keystead.web.dialects.vault_words import VaultCall, bad, enveloped, operation, words
from keystead.web.exchange import Answer
from keystead.web.operations import Call, Operation
from keystead.web.services import Services

_TEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):(.*)", re.DOTALL)


class Item(Loose):
    """One thing to do, alone or in a batch."""

    plaintext: str | None = None
    ciphertext: str | None = None
    input: str | None = None
    signature: str | None = None
    hmac: str | None = None
    associated_data: str | None = None
    reference: str | None = None
    key_version: int | None = None


class Request(Item):
    """What cryptography is asked for."""

    batch_input: list[Item] | None = None
    partial_failure_response_code: int | None = None
    bits: int | None = None
    algorithm: str | None = None
    hash_algorithm: str | None = None
    signature_algorithm: str | None = None
    marshaling_algorithm: str | None = None
    salt_length: str | int | None = None
    prehashed: bool | None = None
    bytes: int | None = None
    format: str | None = None


# reading


def from_base64(text: str | None, missing: str) -> bytes:
    if text is None:
        raise bad(missing)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad("illegal base64 data") from None


def associated(item: Item) -> bytes:
    return from_base64(item.associated_data or "", "")


def versioned(text: str | None, missing: str, noun: str) -> tuple[int, str]:
    """Version and payload of `vault:v<version>:<payload>`."""
    if not text:
        raise bad(missing)
    if not text.startswith("vault:v"):
        raise bad(f"invalid {noun}: no prefix")
    found = _TEXT.fullmatch(text)
    if found is None:
        raise bad(f"invalid {noun}: version number could not be decoded")
    return int(found[1]), found[2]


def envelope_in(item: Item, missing: str) -> bytes:
    """The envelope in a ciphertext, whose version is the one that is written before it."""
    number, payload = versioned(item.ciphertext, missing, "ciphertext")
    try:
        blob = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise bad("invalid ciphertext: could not decode base64") from None
    if peek(blob).key_version != number:
        raise Unreadable
    return blob


def text_of(version: int, blob: bytes) -> str:
    return f"vault:v{version}:{base64.b64encode(blob).decode()}"


def check_version(wanted: int | None, made: int) -> None:
    """Only the newest version seals and signs."""
    if wanted and wanted > made:
        raise bad("requested version for encryption is higher than the latest key version")
    if wanted and wanted < made:
        raise bad("requested version for encryption is less than the minimum encryption key version")


# many at once


def batched(
    call: Call[Request, Any],
    read: Callable[[Item], Any],
    act: Callable[[list[Any]], tuple[Sequence[Any], int]],
    shown: Callable[[Any, int, Item], dict[str, Any]],
    *,
    failed: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> Answer:
    """Do each item of the batch that can be read; the answer says of every item what became of it, in their order.

    `act` does those that could be read (in one go) and gives results and the version. `failed`: fields beside the error
    of an item. `strict`: a failure shows in the status (400, or what was asked for when something succeeded).
    """
    items = call.body.batch_input or []
    if not items:
        raise bad("missing batch input to process")
    results: list[dict[str, Any] | None] = [None] * len(items)
    good: list[tuple[int, Any]] = []
    failures = 0
    for place, item in enumerate(items):
        try:
            good.append((place, read(item)))
        except Refusal as refusal:
            results[place] = _failure(refusal, item, failed)
            failures += 1
    if good:
        done, version = act([one for _, one in good])
        for (place, _), one in zip(good, done, strict=True):
            item = items[place]
            try:
                if isinstance(one, Refusal):
                    raise one
                results[place] = {**shown(one, version, item), "reference": item.reference or ""}
            except Refusal as refusal:
                results[place] = _failure(refusal, item, failed)
                failures += 1
    status = 200
    if failures and strict:
        status = 400
        wanted = call.body.partial_failure_response_code
        if wanted and 200 <= wanted <= 599 and failures < len(items):
            status = wanted
    return enveloped(call, {"batch_results": results}, status)


def _failure(refusal: Refusal, item: Item, failed: Mapping[str, Any] | None) -> dict[str, Any]:
    _, errors = words(refusal, "VaultDecrypt", {})
    return {**(failed or {}), "error": errors[0], "reference": item.reference or ""}


# encryption


def encrypt(services: Services, call: Call[Request, Any]) -> Any:
    def read(item: Item) -> tuple[bytes, bytes]:
        return from_base64(item.plaintext, "missing plaintext to encrypt"), associated(item)

    def act(items: list[Any]) -> tuple[Sequence[Any], int]:
        done = services.vaults.encrypt_batch(call.caller, key_of(services, call), items)
        return done.results, done.key_version

    if call.body.batch_input is not None:
        return batched(call, read, act, _shown_ciphertext)
    plaintext, context = read(call.body)
    made = services.vaults.encrypt(call.caller, key_of(services, call), plaintext, context)
    check_version(call.body.key_version, made.key_version)
    return {"ciphertext": text_of(made.key_version, made.blob), "key_version": made.key_version}


def decrypt(services: Services, call: Call[Request, Any]) -> Any:
    def read(item: Item) -> tuple[bytes, bytes]:
        return envelope_in(item, "missing ciphertext to decrypt"), associated(item)

    def act(items: list[Any]) -> tuple[Sequence[Any], int]:
        return services.vaults.decrypt_any_batch(call.caller, key_of(services, call), items).results, 0

    def shown(opened: bytes, _version: int, _item: Item) -> dict[str, Any]:
        return {"plaintext": base64.b64encode(opened).decode()}

    if call.body.batch_input is not None:
        return batched(call, read, act, shown, failed={"plaintext": ""})
    blob, context = read(call.body)
    opened = services.vaults.decrypt_any(call.caller, key_of(services, call), blob, context)
    return shown(opened, 0, call.body)


def rewrap(services: Services, call: Call[Request, Any]) -> Any:
    def read(item: Item) -> tuple[bytes, bytes]:
        return envelope_in(item, "missing ciphertext to decrypt"), associated(item)

    def act(items: list[Any]) -> tuple[Sequence[Any], int]:
        done = services.vaults.rewrap_batch(call.caller, key_of(services, call), items)
        return done.results, done.key_version

    if call.body.batch_input is not None:
        return batched(call, read, act, _shown_ciphertext, strict=False)
    blob, context = read(call.body)
    made = services.vaults.rewrap(call.caller, key_of(services, call), blob, context)
    check_version(call.body.key_version, made.key_version)
    return {"ciphertext": text_of(made.key_version, made.blob), "key_version": made.key_version}


def _shown_ciphertext(blob: bytes, version: int, item: Item) -> dict[str, Any]:
    check_version(item.key_version, version)
    return {"ciphertext": text_of(version, blob), "key_version": version}


def data_key(services: Services, call: Call[Request, Any]) -> dict[str, Any]:
    kind, bits = call.path["kind"], call.body.bits or 256
    if kind not in ("plaintext", "wrapped"):
        raise bad("Invalid path, must be 'plaintext' or 'wrapped'")
    if bits not in (128, 256, 512):
        raise bad("invalid bit length")
    made = services.vaults.generate_data_key(
        call.caller, key_of(services, call), associated(call.body), plaintext_wanted=kind == "plaintext",
        length=bits // 8,
    )  # fmt: skip
    shown: dict[str, Any] = {"ciphertext": text_of(made.key_version, made.blob), "key_version": made.key_version}
    if made.plaintext is not None:
        shown["plaintext"] = base64.b64encode(made.plaintext).decode()
    return shown


# random bytes


def random(services: Services, call: Call[Request, Any]) -> dict[str, str]:
    """From the operating system, whatever source is named."""
    given = call.path.get("bytes", "")
    if given and not given.isdecimal():
        given = ""  # a source, and the number in the body
    count = int(given[:9]) if given else 32 if call.body.bytes is None else call.body.bytes
    shape = call.body.format or "base64"
    if shape not in ("base64", "hex"):
        raise bad(f'unsupported encoding format "{shape[:40]}"; must be "hex" or "base64"')
    if count < 1:
        raise bad("'bytes' cannot be less than 1")
    vault = services.vaults.vault_at(call.caller, path_of(call))
    made = services.vaults.random_bytes(call.caller, vault.id, count)
    return {"random_bytes": made.hex() if shape == "hex" else base64.b64encode(made).decode()}


def operation_of(
    name: str, path: str, summary: str, handler: Callable[[Services, VaultCall], Any], *permissions: str
) -> Operation:
    return operation(name, "POST", path, summary, handler, request=Request, permissions=permissions, root=MOUNT)


OPERATIONS: tuple[Operation, ...] = (
    operation_of("VaultEncrypt", "/encrypt/{key}", "Encrypt", encrypt, "KEY_ENCRYPT"),
    operation_of("VaultDecrypt", "/decrypt/{key}", "Decrypt", decrypt, "KEY_DECRYPT"),
    operation_of("VaultRewrap", "/rewrap/{key}", "Bring to the newest version", rewrap, "KEY_DECRYPT", "KEY_ENCRYPT"),
    operation_of("VaultDataKey", "/datakey/{kind}/{key}", "Make a fresh data key", data_key, "KEY_ENCRYPT"),
    operation_of("VaultRandom", "/random", "Random bytes", random, "VAULT_READ"),
    operation_of("VaultRandomBytes", "/random/{bytes}", "So many random bytes", random, "VAULT_READ"),
    operation_of("VaultRandomFrom", "/random/{source}/{bytes}", "So many, of a source", random, "VAULT_READ"),
)
