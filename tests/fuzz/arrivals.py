"""What arrives at our sockets before anybody is known: logins to a database, requests for data keys, answers on a line;
and what lies behind a signature of whoever has a key: proofs of possession, the claims of identity providers.
"""

import base64
import hashlib
import json
import socket
import struct
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import h11
from tests.fuzz.target import KEY, TENANCY, fine

from keystead.adapters.seen_proofs import OwnSeen
from keystead.adapters.unix_http import UnixLine
from keystead.core.clock import ManualClock
from keystead.core.ids import TenancyId, new_id
from keystead.core.secret import Secret
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey
from keystead.databases.logins.model import LoginRequest, check_account, check_role, parse_grant
from keystead.databases.logins.possession import token_of, why_not_theirs
from keystead.host.endpoint import parse_request
from keystead.host.logins import KINDS, Malformed, complete, read_message
from keystead.iam.federation.claims import check_claims, identity
from keystead.iam.federation.model import IdentityProvider
from keystead.iam.federation.ports import Redeemed
from keystead.iam.sessions.proofs import Request, dpop
from keystead.iam.sessions.service import given_key

_SIGNER = SigningKey(KEY)
_PUBLIC = PublicJwk.from_pem(_SIGNER.public.pem().decode())
_NOW = ManualClock().now()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# a login to a database: the message of the plugin, and what a client put into it


def login(data: bytes) -> None:
    with fine(Malformed):
        if complete(data):
            server, asked = read_message(data)
            assert message(server, asked) == data, "read, and written as another message"
            payload(asked)
    for kind in KINDS.values():
        payload(LoginRequest(kind, "u", "{}", bytes(32), data, "127.0.0.1", 1))


def payload(asked: LoginRequest) -> None:
    """What is done with it before, and after, its token was verified."""
    with fine():
        token = token_of(asked)
        assert token.isascii()
        if token.count(".") == 2:
            why_not_theirs(asked, token)


def message(server: str, asked: LoginRequest) -> bytes:
    kind = next(letter for letter, each in KINDS.items() if each == asked.client)
    fields = (server.encode(), asked.user.encode(), asked.account_text.encode(), asked.nonce, asked.payload)
    parts = [struct.pack(">I", len(part)) + part for part in (*fields, asked.address.encode())]
    return b"KSL1" + kind + struct.pack(">Q", asked.connection) + b"".join(parts)


def login_seeds() -> Iterator[bytes]:
    token = f"{_b64(b'{}')}.{_b64(json.dumps({'cnf': {'jkt': 'x'}, 'jwk': _PUBLIC.text}).encode())}.AAAA"
    signature = base64.b64encode(_SIGNER.sign(bytes(32))).decode()
    answer = json.dumps({"fingerprint": _PUBLIC.fingerprint, "signature": signature, "token": token}).encode()
    for kind, given in (("token", token.encode()), ("oci", answer), ("openid", token.encode())):
        yield message("s", LoginRequest(kind, "ada", '{"mapping": "m"}', bytes(32), given, "::1", 7))  # type: ignore[arg-type]
        yield given


# data keys


def key_request(data: bytes) -> None:
    found = parse_request(data + b"\r\n\r\n")
    assert found is None or (found.token and found.mount and b"\n" not in found.token)


def key_request_seeds() -> Iterator[bytes]:
    for target in ("sys/mounts/t/s/tune", "t/s/data/1", "t/s/data/2?version=3"):
        yield f"GET /v1/{target} HTTP/1.1\r\nHost: h:1\r\nX-Vault-Token: abc\r\nAccept: */*".encode()


# answers on a line of our own


def line_answer(data: bytes) -> None:
    """The other side says `data`, and ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = object.__new__(UnixLine)
        line._http, line._socket = h11.Connection(h11.CLIENT), ours
        ours.settimeout(5)
        theirs.sendall(data[: 64 << 10])
        theirs.shutdown(socket.SHUT_WR)
        with fine(OSError, h11.ProtocolError):
            status, _, body = line.post("/x", {"a": "b"}, b"{}")
            assert 100 <= status < 1000 and len(body) <= len(data)
            line.keep()


def line_answer_seeds() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\ncontent-length: 2\r\n\r\n{}"
    yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nconnection: close\r\n\r\nx"


# behind a signature


def possession(data: bytes) -> None:
    """A DPoP proof whose header and claims are `data`, signed by the very key of the token."""
    said = _object(data)
    if said is None:
        return
    header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": json.loads(_PUBLIC.text), **_part(said, "header")}
    ath = _b64(hashlib.sha256(b"token").digest())
    claims = {"jti": "12345678", "htm": "POST", "htu": "https://test/x", "iat": int(_NOW.timestamp()), "ath": ath}
    head = ".".join(_b64(json.dumps(each).encode()) for each in (header, {**claims, **_part(said, "claims")}))
    request = Request("POST", "/x?y=1", [(b"host", b"test")], frozenset(), _NOW)
    with fine():
        dpop(f"{head}.{_b64(_SIGNER.sign(head.encode()))}", "token", request, _PUBLIC, OwnSeen())
    with fine():
        given_key(json.dumps(said.get("key", {})))


def possession_seeds() -> Iterator[bytes]:
    yield b'{"header": {}, "claims": {}, "key": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}}'
    yield b'{"header": {"alg": "RS256", "jwk": {"kty": "RSA", "n": "AAAA", "e": "AQAB"}}, "claims": {"htu": "http://a"}}'
    yield b'{"claims": {"ath": "\\ud800", "jti": "\\ud800aaaaaaa"}}'
    yield b'{"header": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "\\ud800"}}}'


_PROVIDER = IdentityProvider(
    new_id("identityprovider", "home"), TenancyId(TENANCY), "okta", "ENABLED", "https://id.example", "keystead",
    ("openid",), (), "",
    "sub", "name", "realm_access.groups", True, False, True, "all", (), "", _NOW,
)  # fmt: skip


def provided(data: bytes) -> None:
    """An ID token's claims, and what user info adds, as a provider (or who stole its key) signs them."""
    said = _object(data)
    if said is None:
        return
    now = int(_NOW.replace(tzinfo=UTC).timestamp())
    claims = {"iss": _PROVIDER.issuer, "aud": "keystead", "iat": now, "exp": now + 60, "nonce": "n", "sub": "s"}
    redeemed = Redeemed({**claims, **_part(said, "claims")}, "half", Secret(b"access"))
    with fine():
        check_claims(_PROVIDER, redeemed, "n", _NOW)
        found = identity(_PROVIDER, redeemed.claims, _part(said, "more"))
        assert found.subject and all(isinstance(each, str) for each in found.groups)
        json.dumps([found.subject, found.name, *found.groups], ensure_ascii=False).encode()


def provided_seeds() -> Iterator[bytes]:
    yield b'{"claims": {"azp": "keystead", "amr": ["otp"], "groups": ["a"], "at_hash": "half", "nbf": 1}, "more": {}}'
    more = '{"sub": "s", "realm_access": {"groups": ["\\ud800", 1]}, "name": "\\ud800", "email": "a@b"}'
    yield f'{{"claims": {{"aud": ["a", "keystead"], "azp": "keystead"}}, "more": {more}}}'.encode()
    yield b'{"claims": {"nonce": "\\ud800", "at_hash": "\\ud800", "sub": "\\ud800"}}'


def names(data: bytes) -> None:
    """Accounts, roles and grants of login mappings."""
    text = data.decode("utf-8", "replace")
    with fine():
        assert check_account(text) == text
    with fine():
        assert check_role(text) == text
    with fine():
        found = parse_grant(text)
        assert "`" not in text and ";" not in text and found is not None


def names_seeds() -> Iterator[bytes]:
    yield from (b"ada", b"SELECT, INSERT ON shop.*", b"ALL PRIVILEGES ON *.*", b"a@b.example")


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _part(said: dict[str, Any], name: str) -> dict[str, Any]:
    found = said.get(name)
    return found if isinstance(found, dict) else {}
