"""What people and programs say: policies, tokens, places, settings."""

import base64
import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.target import KEY, TENANCY, VECTORS, fine

from keystead.adapters.jose import JoseCodec
from keystead.adapters.seen_proofs import OwnSeen
from keystead.core.clock import ManualClock, isoformat, parse_moment
from keystead.core.frames import read_frame
from keystead.core.ids import looks_like_id, parse_id
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey
from keystead.crypto.stream import Reader
from keystead.iam.directory import Directory
from keystead.iam.policy.model import text as statement_text
from keystead.iam.policy.parse import parse
from keystead.iam.sessions.proofs import Request, dpop, signed
from keystead.iam.tokens import Tokens
from keystead.server.settings import parse as parse_settings
from keystead.vault.networks import address_of, checked_networks, fence_of
from keystead.web.messages import read_query


def policy(data: bytes) -> None:
    with fine():
        text = data.decode("utf-8", "replace")
        found = parse(text)
        assert parse(statement_text(found)) == found, "its canonical spelling is another statement"


def policy_seeds() -> Iterator[bytes]:
    for line in (VECTORS / "policy-statements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.partition(" -> ")[0].encode()


_CODEC = JoseCodec(SigningKey(KEY))


_TOKENS = Tokens(_CODEC, Directory(), lambda: 1, ManualClock(), "home")


def token(data: bytes) -> None:
    with fine():
        _TOKENS.authenticate(data.decode("latin-1"), "127.0.0.1", "r")
        raise AssertionError("a token of nobody is taken")


_PROVED = PublicJwk.from_pem(SigningKey(KEY).public.pem().decode())


def proof(data: bytes) -> None:
    """What a client sends beside its token, or in place of one; the first letter says which."""
    text, now = data[1:].decode("latin-1"), ManualClock().now()
    request = Request("POST", "/x?y=1", [(b"host", b"test"), (b"date", text.encode("latin-1"))], frozenset(), now)
    with fine():
        if data[:1] == b"d":
            assert not dpop(text, "token", request, _PROVED, OwnSeen()), "a proof of nobody is taken"
        else:
            assert not signed(text, request).shows(_PROVED, OwnSeen()), "a signature of nobody is taken"


def proof_seeds() -> Iterator[bytes]:
    head = base64.urlsafe_b64encode(b'{"typ":"dpop+jwt","alg":"EdDSA","jwk":%b}' % _PROVED.text.encode())
    yield b"d" + head + b".e30.AAAA"
    yield b"s" + b'Signature version="1",keyId="a/b/c",algorithm="ed25519",headers="date host",signature="AAAA"'


def token_seeds() -> Iterator[bytes]:
    for claims in map(json.loads, claims_seeds()):
        yield _CODEC.sign(claims).encode()
    yield base64.urlsafe_b64encode(b'{"alg":"none"}') + b".e30."


def claims(data: bytes) -> None:
    """Claims that our own key has signed, by mistake or by a thief."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    with contextlib.suppress(Exception):
        made = _CODEC.sign(found)
        with fine():
            _TOKENS.authenticate(made, "127.0.0.1", "r")
            raise AssertionError("a token of nobody is taken")
        return


def claims_seeds() -> Iterator[bytes]:
    now = int(ManualClock().now().timestamp())
    whole = {
        "iss": "home", "aud": "keystead:home:api", "sub": "ks1.user.main.home." + "u" * 32, "tenant": TENANCY,
        "jti": "ks1.token.main.home." + "j" * 32, "iat": now, "at": now * 10**6, "exp": now + 600,
    }  # fmt: skip
    yield json.dumps(whole).encode()
    yield json.dumps(whole | {"machine": "ks1.machine.main.home." + "m" * 32}).encode()


def network(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with fine():
        found = checked_networks(tuple(text.split(",")))
        assert checked_networks(found) == found
        for each in text.split(","):
            address_of(each)
        assert fence_of is not None
    address_of(text)


def network_seeds() -> Iterator[bytes]:
    yield from (b"192.0.2.0/24", b"2001:db8::/32,private", b"::ffff:192.0.2.0/120", b"fe80::1%eth0", b"private 1")


def words(data: bytes) -> None:
    """Ids, moments, frames, query strings."""
    text = data.decode("utf-8", "replace")
    with fine():
        parse_id(text)
        assert looks_like_id(text)
    with fine(ValueError):
        moment = parse_moment(text)
        assert abs((parse_moment(isoformat(moment)) - moment).total_seconds()) < 0.001
    with fine(ConnectionError):
        read_frame(Reader((data,)))
    with fine():
        read_query(None, data)


def words_seeds() -> Iterator[bytes]:
    yield from (TENANCY.encode(), b"2026-01-31T12:00:00.000Z", b"2026-01-31T12:00:00+14:00", b"a=b&c=%20", b"")
    yield b"k" + struct.pack(">I", 3) + b"abc"


def settings_file(data: bytes) -> None:
    with fine():
        parse_settings(data, Path("/nowhere/keystead.toml"), {})


def settings_seeds() -> Iterator[bytes]:
    yield b'[region]\nname = "home"\n[listen]\nport = 9000\n[databases]\nports = "1-2"\nuids = "61000-61010"\n'
    yield b'[unseal]\nkey_file = "/a"\n[audit]\nsync = "synced"\n'
