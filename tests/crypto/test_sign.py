"""Ed25519 keys: what they sign, how they are written, what they refuse."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto.sign import SIGNATURE_BYTES, SigningKey, VerifyKey

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey.generate()


@given(st.binary(max_size=200), st.integers(0, SIGNATURE_BYTES * 8 - 1))
def test_signature_holds_for_its_message_alone(message: bytes, bit: int) -> None:
    signature = KEY.sign(message)
    assert len(signature) == SIGNATURE_BYTES
    assert KEY.public.verify(message, signature)
    assert not KEY.public.verify(message + b"\x00", signature)
    assert not OTHER.public.verify(message, signature)
    assert not KEY.public.verify(message, signature[:-1])
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not KEY.public.verify(message, bytes(flipped))


def test_rfc_8037_example() -> None:
    """Appendix A of RFC 8037: the key, its thumbprint and JWK."""
    key = VerifyKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert SigningKey(seed).public == key
    assert SigningKey(seed).reveal_jwk()["d"] == "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"


def test_written_and_read_back() -> None:
    again = SigningKey.from_pem(KEY.reveal_pem())
    assert again.public == KEY.public
    assert again.sign(b"x") == KEY.sign(b"x")
    assert VerifyKey.from_pem(KEY.public.pem()) == KEY.public
    assert VerifyKey.from_jwk(KEY.public.jwk()) == KEY.public
    assert hash(VerifyKey(KEY.public.raw)) == hash(KEY.public)
    assert KEY.public != OTHER.public
    assert "d" not in KEY.public.jwk()


def test_bad_keys_are_refused() -> None:
    jwk = KEY.public.jwk()
    for act in (
        lambda: VerifyKey(bytes(31)),
        lambda: VerifyKey.from_pem(b"nonsense"),
        lambda: VerifyKey.from_pem(KEY.reveal_pem().reveal()),
        lambda: VerifyKey.from_pem(P256_PUBLIC),
        lambda: VerifyKey.from_jwk({}),
        lambda: VerifyKey.from_jwk({**jwk, "crv": "X25519"}),
        lambda: VerifyKey.from_jwk({**jwk, "x": 5}),
        lambda: VerifyKey.from_jwk({**jwk, "x": "!!"}),
        lambda: VerifyKey.from_jwk({**jwk, "x": "\u00e9"}),
        lambda: VerifyKey.from_jwk({**jwk, "x": jwk["x"][:-2]}),
        lambda: SigningKey.from_pem(Secret(b"nonsense")),
        lambda: SigningKey.from_pem(Secret(KEY.public.pem())),
    ):
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.code == "InvalidKey"
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(bytes(33))


def test_a_signing_key_keeps_to_itself() -> None:
    assert repr(KEY) == f"SigningKey({KEY.public.kid})"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(KEY)


P256_PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXfUTBoSJ9yGRuh0NDzV2SUrHWoLPQUC8vGuaYh2HwZtQ==
-----END PUBLIC KEY-----
"""
