"""Signed tokens: one algorithm, the named key, and nothing that the token itself chooses."""

import base64
import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from keystead.adapters.jose import JoseCodec
from keystead.core.errors import Refusal
from keystead.crypto.sign import SigningKey, VerifyKey
from keystead.iam.tokens import invalid_token

REGION_KEY, MACHINE_KEY = SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)
MACHINE = "ks1.machine.main.home." + "a" * 32
CLAIMS = {"sub": "someone", "iat": 1, "exp": 2}


def machines(kid: str) -> bytes | None:
    return MACHINE_KEY.public.raw if kid == MACHINE else None


def refused(token: str) -> None:
    with pytest.raises(Refusal) as caught:
        JoseCodec(REGION_KEY).verify(token, machines)
    expected = invalid_token()
    assert (caught.value.code, caught.value.message, caught.value.kind) == (
        expected.code, expected.message, expected.kind,
    )  # fmt: skip


def test_ours_and_the_machines_own_verify() -> None:
    codec = JoseCodec(REGION_KEY)
    assert codec.verify(codec.sign(CLAIMS), machines) == CLAIMS
    claims = {**CLAIMS, "machine": MACHINE}
    assert codec.verify(JoseCodec(MACHINE_KEY, MACHINE).sign(claims), machines) == claims


def test_it_is_a_jws_that_others_can_check() -> None:
    """RFC 7515 compact, RFC 8037 keys: verified here with the plain Ed25519 of another door."""
    head, body, signature = JoseCodec(REGION_KEY).sign(CLAIMS).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    assert VerifyKey(REGION_KEY.public.raw).verify(f"{head}.{body}".encode(), raw)
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "Ed25519"


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("HS256", OctKey.import_key(REGION_KEY.public.raw)),
        ("HS512", OctKey.import_key(b"0" * 64)),
        ("ES256", ECKey.generate_key("P-256")),
        ("RS256", RSAKey.generate_key(2048)),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
@pytest.mark.parametrize("kid", ["region", MACHINE, "unknown"])
def test_other_algorithms_and_keys_do_not(alg: str, key: OctKey | ECKey | RSAKey | OKPKey, kid: str) -> None:
    for claims in (CLAIMS, {**CLAIMS, "machine": kid}):
        refused(jwt.encode({"alg": alg, "kid": kid}, dict(claims), key, algorithms=[alg]))


@pytest.mark.parametrize(
    ("kid", "machine"),
    [("region", MACHINE), (MACHINE, None), (MACHINE, "ks1.machine.main.home." + "b" * 32), (MACHINE, "")],
)
def test_a_key_speaks_for_its_owner_alone(kid: str, machine: str | None) -> None:
    claims = CLAIMS if machine is None else {**CLAIMS, "machine": machine}
    refused(JoseCodec(REGION_KEY if kid == "region" else MACHINE_KEY, kid).sign(claims))


def test_a_token_of_another_region_does_not_hold() -> None:
    refused(JoseCodec(SigningKey(bytes([9]) * 32)).sign(CLAIMS))


@pytest.mark.parametrize("token", ["", ".", "..", "...", "....", "a.b.c", "e30.e30.", "\x00.\x00.\x00", "x" * 5000])
def test_garbage_is_answered_like_a_forgery(token: str) -> None:
    refused(token)


def test_an_encrypted_token_is_not_ours() -> None:
    parts = ["eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0", "", "AAAA", "AAAA", "AAAA"]
    refused(".".join(parts))


def test_the_codec_shows_no_key(tmp_path: Path) -> None:
    codec = JoseCodec(MACHINE_KEY)
    secret = MACHINE_KEY.reveal_jwk()["d"]
    assert secret not in repr(codec)
    assert secret not in repr(vars(codec))
