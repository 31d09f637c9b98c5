"""Signatures and MACs of the Vault dialect's transit engine.

What a key signs by follows from the key and the request together: hash and, for RSA, padding are asked for; ECDSA
signatures are DER, or r || s in base64url where JWS is asked for. PSS salts are as long as the hash, which verifiers
that look for themselves find out. Every key makes MACs, by a key derived from its material (crypto/macs).
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keystead.core.errors import Refusal
from keystead.crypto import ecdsa
from keystead.crypto.macs import MacHash
from keystead.crypto.suites import CURRENT, Suite
from keystead.web.dialects.vault_keys import key_of
from keystead.web.dialects.vault_transit import (
    Item,
    Request,
    batched,
    check_version,
    from_base64,
    operation_of,
    text_of,
    versioned,
)
from keystead.web.dialects.vault_words import VaultCall, bad
from keystead.web.operations import Call, Operation
from keystead.web.services import Services

HASHES: Mapping[str, MacHash] = {
    "sha2-224": "SHA224",
    "sha2-256": "SHA256",
    "sha2-384": "SHA384",
    "sha2-512": "SHA512",
    "sha3-224": "SHA3-224",
    "sha3-256": "SHA3-256",
    "sha3-384": "SHA3-384",
    "sha3-512": "SHA3-512",
}
SIGNED_HASHES = ("sha2-256", "sha2-384", "sha2-512")


def sign(services: Services, call: Call[Request, Any]) -> Any:
    way = _Way(call)

    def read(item: Item) -> bytes:
        return from_base64(item.input, "missing input for signature")

    def act(messages: list[Any]) -> tuple[Sequence[Any], int]:
        key_id, scheme = way.of(services, call)
        done = services.vaults.sign_batch(call.caller, key_id, messages, scheme, digest=way.digest)
        return done.results, done.key_version

    def shown(signature: bytes, version: int, item: Item) -> dict[str, Any]:
        check_version(item.key_version, version)
        return {"signature": f"vault:v{version}:{way.write(signature)}", "key_version": version}

    if call.body.batch_input is not None:
        return batched(call, read, act, shown, failed={"key_version": 0}, strict=False)
    message = read(call.body)
    key_id, scheme = way.of(services, call)
    made = services.vaults.sign(call.caller, key_id, message, scheme, digest=way.digest)
    return shown(made.signature, made.key_version, call.body)


def verify(services: Services, call: Call[Request, Any]) -> Any:
    body = call.body
    if body.hmac is not None or any(item.hmac is not None for item in body.batch_input or []):
        return _verify_mac(services, call)
    way = _Way(call)

    def read(item: Item) -> tuple[bytes, bytes, int]:
        missing = "neither a 'signature' nor an 'hmac' were given to verify"
        number, payload = versioned(item.signature, missing, "signature")
        message = from_base64(item.input, "missing input for verification")
        return message, way.read(payload), number

    def act(items: list[Any]) -> tuple[Sequence[Any], int]:
        key_id, scheme = way.of(services, call)
        signed = [(message, way.spelt(given)) for message, given, _ in items]

        def check(places: list[int], number: int) -> Sequence[Any]:
            these = [signed[place] for place in places]
            return services.vaults.verify_batch(
                call.caller, key_id, these, scheme, digest=way.digest, key_version=number
            ).results

        return _by_version([number for _, _, number in items], check), 0

    if body.batch_input is not None:
        return batched(call, read, act, _shown_validity, failed={"valid": False}, strict=False)
    message, given, number = read(body)
    key_id, scheme = way.of(services, call)
    signature = way.spelt(given)
    valid = services.vaults.verify(
        call.caller, key_id, message, signature, scheme, digest=way.digest, key_version=number
    )
    return {"valid": valid}


def mac(services: Services, call: Call[Request, Any]) -> Any:
    hashed = _mac_hash(call)

    def read(item: Item) -> bytes:
        return from_base64(item.input, "missing input for HMAC")

    def act(messages: list[Any]) -> tuple[Sequence[Any], int]:
        done = services.vaults.mac(call.caller, key_of(services, call), messages, hashed)
        return done.results, done.key_version

    def shown(code: bytes, version: int, item: Item) -> dict[str, Any]:
        check_version(item.key_version, version)
        return {"hmac": text_of(version, code)}

    if call.body.batch_input is not None:
        return batched(call, read, act, shown, strict=False)
    made, version = act([read(call.body)])
    return shown(made[0], version, call.body)


def _verify_mac(services: Services, call: Call[Request, Any]) -> Any:
    hashed = _mac_hash(call)

    def read(item: Item) -> tuple[bytes, bytes, int]:
        missing = "neither a 'signature' nor an 'hmac' were given to verify"
        number, payload = versioned(item.hmac, missing, "HMAC to verify")
        return from_base64(item.input, "missing input for HMAC verification"), from_base64(payload, ""), number

    def act(items: list[Any]) -> tuple[Sequence[Any], int]:
        key_id = key_of(services, call)

        def check(places: list[int], number: int) -> Sequence[Any]:
            these = [items[place][:2] for place in places]
            return services.vaults.verify_mac(call.caller, key_id, these, hashed, number).results

        return _by_version([number for _, _, number in items], check), 0

    if call.body.batch_input is not None:
        return batched(call, read, act, _shown_validity, strict=False)
    results, _ = act([read(call.body)])
    if isinstance(results[0], Refusal):
        raise results[0]
    return {"valid": results[0]}


def _shown_validity(valid: bool, _version: int, _item: Item) -> dict[str, Any]:
    return {"valid": valid}


def _by_version(numbers: Sequence[int], check: Callable[[list[int], int], Sequence[Any]]) -> list[Any]:
    """`check` the items of each version together, in the order of the items; a version's refusal is that of its items.

    What concerns the key itself, or the caller, is the same for all versions: the last refusal is raised when there is
    nothing else.
    """
    results: list[Any] = [None] * len(numbers)
    refused: Refusal | None = None
    groups = {number: [place for place, each in enumerate(numbers) if each == number] for number in set(numbers)}
    for number, places in groups.items():
        try:
            done = check(places, number)
        except Refusal as refusal:
            refused, done = refusal, [refusal] * len(places)
        for place, one in zip(places, done, strict=True):
            results[place] = one
    if refused is not None and all(isinstance(one, Refusal) for one in results):
        raise refused
    return results


class _Way:
    """How is to be signed, as far as the request alone says. Raises: Refusal."""

    def __init__(self, call: Call[Request, Any]) -> None:
        body = call.body
        self.suite: Suite | None = None  # the key's, once it is found
        self.hash = call.path.get("algorithm") or body.hash_algorithm or body.algorithm or "sha2-256"
        self.digest = bool(body.prehashed)
        self.method = body.signature_algorithm or "pss"
        self.marshaling = body.marshaling_algorithm or "asn1"
        if self.hash not in SIGNED_HASHES:
            raise bad(f'invalid hash algorithm "{self.hash[:40]}"', f"one of: {', '.join(SIGNED_HASHES)}")
        if self.method not in ("pss", "pkcs1v15"):
            raise bad(f"unsupported rsa signature algorithm {self.method[:40]}")
        if self.marshaling not in ("asn1", "jws"):
            raise bad(f'invalid marshaling type "{self.marshaling[:40]}"')
        if str(body.salt_length or "auto") not in ("auto", "hash", str(int(self.hash[-3:]) // 8)):
            raise bad("unsupported salt length", "the salt is as long as the hash")

    def of(self, services: Services, call: VaultCall) -> tuple[str, str]:
        """The key's id, and the scheme that is meant for a key of its algorithm."""
        key_id = key_of(services, call)
        self.suite, hashed = CURRENT[services.vaults.entry_of(call.caller, key_id).key.algorithm], HASHES[self.hash]
        match self.suite.family:
            case "rsa":
                return key_id, f"RSA-{'PSS' if self.method == 'pss' else 'PKCS1'}-{hashed}"
            case "ec":
                return key_id, f"ECDSA-{hashed}"
            case _:
                return key_id, ""

    def write(self, signature: bytes) -> str:
        """As `marshaling` wants it."""
        if self.marshaling == "asn1" or self.suite is None:
            return base64.b64encode(signature).decode()
        raw = ecdsa.to_raw(signature, self.suite.bits) if self.suite.family == "ec" else signature
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def read(self, payload: str) -> bytes:
        """The bytes of a signature. Raises: Refusal."""
        if self.marshaling == "jws":
            payload = payload.replace("-", "+").replace("_", "/") + "=" * (-len(payload) % 4)
        try:
            return base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise bad("invalid base64 signature value") from None

    def spelt(self, given: bytes) -> bytes:
        """The signature as our keys spell it; what cannot be one does not hold."""
        if self.marshaling == "asn1" or self.suite is None or self.suite.family != "ec":
            return given
        try:
            return ecdsa.to_der(given, self.suite.bits)
        except ValueError:
            return b""


def _mac_hash(call: Call[Request, Any]) -> MacHash:
    name = call.path.get("algorithm") or call.body.hash_algorithm or call.body.algorithm or "sha2-256"
    found = HASHES.get(name)
    if found is None:
        raise bad(f"unsupported algorithm '{name[:40]}'", f"one of: {', '.join(HASHES)}")
    return found


OPERATIONS: tuple[Operation, ...] = (
    operation_of("VaultSign", "/sign/{key}", "Sign", sign, "KEY_SIGN"),
    operation_of("VaultSignBy", "/sign/{key}/{algorithm}", "Sign by the hash in the path", sign, "KEY_SIGN"),
    operation_of("VaultVerify", "/verify/{key}", "Verify a signature or a MAC", verify, "KEY_VERIFY"),
    operation_of("VaultVerifyBy", "/verify/{key}/{algorithm}", "Verify by the hash in the path", verify, "KEY_VERIFY"),
    operation_of("VaultMac", "/hmac/{key}", "Make a MAC", mac, "KEY_SIGN"),
    operation_of("VaultMacBy", "/hmac/{key}/{algorithm}", "Make a MAC by the hash in the path", mac, "KEY_SIGN"),
)
