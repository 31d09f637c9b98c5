"""The region's RSA key: made once, whoever asks first, and of no use without the root key."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.fakes.domain import make_region

from keystead.adapters.jose import JoseCodec
from keystead.adapters.sql.schema_tokens import signing_keys
from keystead.core.errors import KeysteadError, Refusal
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.server.token_keys import RegionRsa


def test_every_process_has_the_same_key_and_it_is_kept_wrapped(tmp_path: Path) -> None:
    region = make_region(tmp_path)
    seed = SigningKey(bytes(32))
    codecs = [JoseCodec(seed, rsa=RegionRsa(region.store, Secret(bytes(32)), region.clock, "home")) for _ in range(2)]
    token = codecs[0].sign({"sub": "x"}, "RS256")
    assert codecs[1].verify(token, lambda _: None) == {"sub": "x"}
    published = codecs[1].public_keys()
    assert [each["alg"] for each in published] == ["Ed25519", "RS256"]
    assert not any({"d", "p", "q"} & set(each) for each in published)
    others = KeySet.import_key_set({"keys": published})  # type: ignore[typeddict-item]
    assert jwt.decode(token, others, algorithms=["RS256"]).claims == {"sub": "x"}
    with region.store.read() as tx:
        held = tx.connection.execute(sa.select(signing_keys.c.wrapped)).scalar_one()
    assert b"\x30\x82" not in held[:200]
    with pytest.raises(KeysteadError):
        RegionRsa(region.store, Secret(bytes(31) + b"x"), region.clock, "home")()


def test_the_algorithm_is_the_keys(tmp_path: Path) -> None:
    region = make_region(tmp_path)
    rsa = RegionRsa(region.store, Secret(bytes(32)), region.clock, "home")
    codec = JoseCodec(SigningKey(bytes(32)), rsa=rsa)
    as_if = jwt.encode({"alg": "RS256", "kid": "region"}, {"sub": "x"}, rsa(), algorithms=["RS256"])
    with pytest.raises(Refusal):
        codec.verify(as_if, lambda _: None)
