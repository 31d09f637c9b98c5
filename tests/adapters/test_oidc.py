"""Providers that lie: real HTTP on this machine, and a provider that says what each test wants."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from keystead.adapters.oidc import MAX_ANSWER, MAX_KEYS, OidcProviders
from keystead.core.clock import ManualClock
from keystead.core.errors import Refusal
from keystead.core.ids import IdentityProviderId, TenancyId
from keystead.core.secret import Secret
from keystead.iam.federation.claims import check_claims
from keystead.iam.federation.model import IdentityProvider

pytestmark = pytest.mark.slow

KEYS = {
    "rsa": RSAKey.generate_key(2048, parameters={"kid": "rsa"}),
    "ec": ECKey.generate_key("P-256", parameters={"kid": "ec"}),
    "ed": OKPKey.generate_key("Ed25519", parameters={"kid": "ed"}),
}
SECRET = "shared secret of thirty-two bytes"
NOW = int(ManualClock().now().timestamp())
Say = Callable[[BaseHTTPRequestHandler], None]


class Evil:
    """A provider. `paths` says what is answered; `asked` what came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.paths: dict[str, Any] = {}
        evil = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                evil.asked.append((self.command, self.path, body))
                found = evil.paths.get(self.path, (404, {}))
                if callable(found):
                    found(self)
                    return
                status, said = found
                raw = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = _answer

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/me",
        }
        self.describes()
        self.paths["/keys"] = (200, {"keys": [key.as_dict(private=False) for key in KEYS.values()]})
        self.paths["/me"] = (200, {"sub": "s-1"})
        self.provider = _provider(self.issuer)
        self.ours = OidcProviders([self.issuer], timeout=0.5)

    def describes(self, **otherwise: Any) -> None:
        said = {name: value for name, value in (self.metadata | otherwise).items() if value is not None}
        self.paths["/.well-known/openid-configuration"] = (200, said)

    def gives(self, token: object, **more: object) -> None:
        self.paths["/token"] = (200, {"id_token": token, "access_token": "access", "token_type": "Bearer", **more})

    def redeem(self) -> Any:
        return self.ours.redeem(self.provider, Secret(SECRET.encode()), "code", "verifier", "https://here/back")

    def why(self, run: Callable[[], object]) -> tuple[str, str]:
        with pytest.raises(Refusal) as caught:
            run()
        assert self.issuer not in caught.value.message, "nothing of what it said is told on"
        return caught.value.code, caught.value.message.partition(": ")[2]


@pytest.fixture
def evil() -> Iterator[Evil]:
    made = Evil()
    yield made
    made.server.shutdown()
    made.server.server_close()


def claims(**otherwise: object) -> dict[str, object]:
    said = {"iss": "x", "aud": "keystead", "sub": "s-1", "exp": NOW + 300, "iat": NOW, "nonce": "n"}
    return said | otherwise


def token(key: str = "rsa", alg: str = "RS256", said: dict[str, object] | None = None, **header: object) -> str:
    body = json.dumps(claims() if said is None else said).encode()
    return jws.serialize_compact({"alg": alg, "kid": key, **header}, body, KEYS[key], algorithms=[alg])


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def handmade(header: dict[str, object], signature: Callable[[bytes], bytes] = lambda _: b"") -> str:
    signed = f"{part(header)}.{part(claims())}"
    return f"{signed}.{part(signature(signed.encode()))}"


# what holds


@pytest.mark.parametrize(("key", "alg"), [("rsa", "RS256"), ("rsa", "PS512"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_token_of_the_providers_own_key(evil: Evil, key: str, alg: str) -> None:
    evil.gives(token(key, alg))
    found = evil.redeem()
    assert found.claims["sub"] == "s-1" and found.access_token.reveal() == b"access"
    digest = hashlib.new("sha512" if alg in ("PS512", "EdDSA") else "sha256", b"access").digest()
    assert found.access_digest == part(digest[: len(digest) // 2])
    asked = parse_qs(evil.asked[1][2])
    assert (asked["code_verifier"], asked["grant_type"]) == (["verifier"], ["authorization_code"])
    assert "client_secret" not in asked, "it goes in a header where the provider takes it there"


def test_a_new_key_is_fetched_once_when_none_fits(evil: Evil) -> None:
    evil.gives(token())
    evil.redeem()
    new = RSAKey.generate_key(2048, parameters={"kid": "new"})
    evil.gives(jws.serialize_compact({"alg": "RS256", "kid": "new"}, json.dumps(claims()).encode(), new))
    evil.paths["/keys"] = (200, {"keys": [new.as_dict(private=False)]})
    assert evil.redeem().claims["sub"] == "s-1"
    before = len([each for each in evil.asked if each[1] == "/keys"])
    evil.gives(token())
    for _ in range(5):
        assert evil.why(evil.redeem)[0] == "SignInRefused"
    assert len([each for each in evil.asked if each[1] == "/keys"]) == before, "forged tokens make no storm of requests"


# what is forged


def test_tokens_that_are_signed_by_nobody(evil: Evil) -> None:
    for alg in ("none", "None", "NONE", "nOnE", "", None, 0, [], {}):
        for kid in ({}, {"kid": "rsa"}):
            evil.gives(handmade({"alg": alg, **kid}))
            assert evil.why(evil.redeem) == ("SignInRefused", "its signature does not hold"), alg
    evil.gives(token().rpartition(".")[0] + ".")
    assert evil.why(evil.redeem)[0] == "SignInRefused"


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n", "secret"])
def test_the_public_key_is_no_password(evil: Evil, form: str) -> None:
    """Key confusion: a token keyed (HMAC) by what everybody knows, or by the client's secret."""
    public = KEYS["rsa"]
    shared = {
        "pem": lambda: public.as_pem(private=False),
        "der": lambda: public.as_der(private=False),
        "jwk": lambda: json.dumps(public.as_dict(private=False)).encode(),
        "n": lambda: str(public.as_dict()["n"]).encode(),
        "secret": SECRET.encode,
    }[form]()
    for alg, digest in (("HS256", "sha256"), ("HS512", "sha512")):
        evil.gives(handmade({"alg": alg, "kid": "rsa"}, lambda text, d=digest: hmac.digest(shared, text, d)))
        assert evil.why(evil.redeem) == ("SignInRefused", "its signature does not hold")


def test_a_key_that_the_provider_lists_as_a_shared_one_is_none(evil: Evil) -> None:
    shared = OctKey.import_key("k" * 32, {"kid": "shared"})
    evil.paths["/keys"] = (200, {"keys": [shared.as_dict()]})
    evil.gives(handmade({"alg": "HS256", "kid": "shared"}, lambda text: hmac.digest(b"k" * 32, text, "sha256")))
    assert evil.why(evil.redeem)[0] == "SignInRefused"


@pytest.mark.parametrize("header", [{"jwk": True}, {"jku": "/mine"}, {"x5u": "/mine"}, {"crit": ["exp"], "exp": 1}])
def test_a_token_does_not_bring_its_own_key(evil: Evil, header: dict[str, Any]) -> None:
    mine = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
    evil.paths["/mine"] = (200, {"keys": [mine.as_dict(private=False)]})
    given = {
        name: mine.as_dict(private=False) if name == "jwk" else evil.issuer + value if name in ("jku", "x5u") else value
        for name, value in header.items()
    }
    key = KEYS["rsa"] if "crit" in header else mine
    signed = f"{part({'alg': 'RS256', 'kid': 'rsa', **given})}.{part(claims())}"
    plain = jws.serialize_compact({"alg": "RS256"}, b"x", key)  # a signature of the right length, over something else
    evil.gives(f"{signed}.{plain.rpartition('.')[2]}")
    assert evil.why(evil.redeem)[0] == "SignInRefused"
    assert "/mine" not in [each[1] for each in evil.asked]


@pytest.mark.parametrize("header", [{"jwk": True}, {"x5c": ["MIIB"]}])
def test_a_key_within_the_token_counts_for_nothing(evil: Evil, header: dict[str, Any]) -> None:
    mine = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
    given = {name: mine.as_dict(private=False) if name == "jwk" else value for name, value in header.items()}
    evil.gives(jws.serialize_compact({"alg": "RS256", "kid": "rsa", **given}, json.dumps(claims()).encode(), mine))
    assert evil.why(evil.redeem) == ("SignInRefused", "its signature does not hold")


def test_a_key_too_small_or_for_encryption_checks_nothing(evil: Evil) -> None:
    small = RSAKey.generate_key(1024, parameters={"kid": "small"})
    for key in (small.as_dict(private=False), KEYS["rsa"].as_dict(private=False) | {"use": "enc"}):
        evil.ours = OidcProviders([evil.issuer])
        evil.paths["/keys"] = (200, {"keys": [key]})
        signer = small if key["kid"] == "small" else KEYS["rsa"]
        evil.gives(jws.serialize_compact({"alg": "RS256", "kid": key["kid"]}, json.dumps(claims()).encode(), signer))
        assert evil.why(evil.redeem)[0] == "SignInRefused"


@pytest.mark.parametrize("bad", ["", "x", "a.b", "a.b.c", "....", "é.b.c", "e30.e30.", None, 7, {}, "a" * 70_000])
def test_what_is_no_token(evil: Evil, bad: object) -> None:
    evil.gives(bad)
    assert evil.why(evil.redeem)[0] == "SignInRefused"


@pytest.mark.parametrize("said", [["s-1"], "text", 7, None])
def test_claims_that_are_none(evil: Evil, said: Any) -> None:
    evil.gives(jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, json.dumps(said).encode(), KEYS["rsa"]))
    assert evil.why(evil.redeem)[0] == "SignInRefused"


@pytest.mark.parametrize(
    ("otherwise", "why"),
    [
        ({"iss": "https://another.example"}, "another issuer"),
        ({"aud": "another"}, "another client"),
        ({"aud": ["another", "keystead"], "azp": "another"}, "another client"),
        ({"nonce": "of another"}, "another sign-in"),
        ({"exp": NOW - 120}, "expired"),
        ({"iat": NOW - 7200}, "not of now"),
        ({"at_hash": "x"}, "another one"),
    ],
)
def test_a_token_that_is_signed_well_and_is_for_somebody_else(evil: Evil, otherwise: Any, why: str) -> None:
    for changed in (otherwise, {}):
        evil.gives(token(said=claims(iss=evil.issuer) | changed))
        found = evil.redeem()
        if changed:
            code, told = evil.why(lambda found=found: check_claims(evil.provider, found, "n", ManualClock().now()))
            assert code == "SignInRefused" and why in told
        else:
            check_claims(evil.provider, found, "n", ManualClock().now())


# where it is not to lead us


def test_another_issuer_than_the_one_that_was_asked(evil: Evil) -> None:
    for other in ("https://another.example", evil.issuer + "/", "", None, 7):
        evil.describes(issuer=other)
        assert evil.why(lambda: evil.ours.metadata(evil.provider)) == (
            "ProviderUnusable", "it calls itself by another issuer",
        )  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest", "https://another.example/token", "http://127.0.0.1:1/token", "//evil/token",
        "file:///etc/passwd", "gopher://127.0.0.1/", "", None, 7, "http://user@{own}/token", "http://{own}@evil/token",
        "http://{own}.evil.example/token", "http://{own}\\@evil/token", "http://{own}/token?next=//evil",
    ],
)  # fmt: skip
def test_an_endpoint_elsewhere_is_not_spoken_to(evil: Evil, address: Any) -> None:
    address = address.replace("{own}", evil.issuer.partition("//")[2]) if isinstance(address, str) else address
    evil.describes(token_endpoint=address, jwks_uri=address, userinfo_endpoint=address or "x")
    evil.paths["/token"] = (200, {})
    assert evil.why(evil.redeem) == ("ProviderUnusable", "it names an address that is not at its own origin")
    assert evil.why(lambda: evil.ours.user_info(evil.provider, Secret(b"a")))[0] == "ProviderUnusable"
    assert {each[1] for each in evil.asked} == {"/.well-known/openid-configuration"}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::", "64:ff9b:1::1",
        "64:ff9b::10.0.0.1", "2002:a00:1::1",
    ],
)  # fmt: skip
def test_a_name_that_leads_into_this_network(evil: Evil, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Whether alone or among public addresses; and nobody connects anywhere."""
    connected: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: connected.append(a))
    provider = _at(evil.provider, "https://id.example.com")
    for found in ([address], ["93.184.216.34", address]):
        infos = [(0, 0, 0, "", (each, 443)) for each in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, infos=infos, **__: infos)
        code, told = evil.why(lambda: OidcProviders().metadata(provider))
        assert code == "ProviderUnusable" and "within this network" in told
    assert connected == []


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(
    evil: Evil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the name is resolved once, and says something else a moment later."""
    answers = iter([[(0, 0, 0, "", ("93.184.216.34", 443))], [(0, 0, 0, "", ("127.0.0.1", 443))]])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: next(answers))
    connected: list[Any] = []

    def connect(address: Any, *_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    provider = _at(evil.provider, "https://id.example.com")
    assert evil.why(lambda: OidcProviders().metadata(provider)) == ("ProviderUnavailable", "it cannot be reached")
    assert connected == [("93.184.216.34", 443)]


def test_plain_http_is_for_those_that_the_operator_named(evil: Evil) -> None:
    assert "plain http" in evil.why(lambda: OidcProviders().metadata(evil.provider))[1]
    assert "plain http" in evil.why(lambda: OidcProviders([evil.issuer + "0"]).metadata(evil.provider))[1]
    assert evil.asked == []


def test_redirects_are_not_followed(evil: Evil) -> None:
    def away(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", f"{evil.issuer}/secret")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    evil.paths["/token"] = away
    assert evil.why(evil.redeem) == ("SignInRefused", "the provider does not take the code")
    evil.paths["/token"] = (200, {"id_token": token(), "access_token": "access"})
    evil.paths["/keys"] = away
    assert evil.why(evil.redeem)[0] == "ProviderUnusable"
    assert "/secret" not in [each[1] for each in evil.asked]


# answers without end


def test_an_answer_that_is_too_long(evil: Evil) -> None:
    evil.gives("x" * MAX_ANSWER)
    assert evil.why(evil.redeem) == ("ProviderUnavailable", "its answer is too long")


def test_too_many_keys_and_keys_that_are_none(evil: Evil) -> None:
    evil.gives(token())
    for keys in ([{}] * (MAX_KEYS + 1), {}, None, "x"):
        evil.ours = OidcProviders([evil.issuer])
        evil.paths["/keys"] = (200, {"keys": keys})
        assert evil.why(evil.redeem) == ("ProviderUnusable", "its keys cannot be read")
    evil.ours = OidcProviders([evil.issuer])
    odd = [{}, None, 7, {"kty": "RSA", "n": "!", "e": 3}, {"kty": "EC", "crv": "x"}, {"kty": ["RSA"]}]
    evil.paths["/keys"] = (200, {"keys": [*odd, KEYS["rsa"].as_dict(private=False)]})
    assert evil.redeem().claims["sub"] == "s-1", "what cannot be read is passed over"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[" * 100_000, b"\xff\xfe", b"[]", b"null"])
def test_an_answer_that_is_no_json(evil: Evil, raw: bytes) -> None:
    evil.paths["/token"] = (200, raw)
    assert evil.why(evil.redeem)[0] == "SignInRefused"
    evil.paths["/.well-known/openid-configuration"] = (200, raw)
    assert evil.why(lambda: OidcProviders([evil.issuer]).metadata(evil.provider))[0] == "ProviderUnavailable"


@pytest.mark.parametrize("drips", [False, True])
def test_a_provider_that_takes_its_time(evil: Evil, drips: bool) -> None:
    """Silence, or a byte now and then: it is over when the time is, and others are not held up for long."""
    ended = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while drips and not ended.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
        ended.wait(5)

    evil.ours = OidcProviders([evil.issuer], timeout=0.2)
    evil.paths["/.well-known/openid-configuration"] = slow
    began = time.monotonic()
    try:
        assert evil.why(lambda: evil.ours.metadata(evil.provider)) == ("ProviderUnavailable", "no answer in time")
        assert time.monotonic() - began < 4
        asked = len(evil.asked)
        assert evil.why(lambda: evil.ours.metadata(evil.provider))[0] == "ProviderUnavailable"
        assert len(evil.asked) == asked, "it is not asked again and again"
    finally:
        ended.set()


def test_a_head_that_never_ends(evil: Evil) -> None:
    """Within the time for an answer, also when the slow part comes before the body."""
    ended = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.05):
            try:
                handler.wfile.write(b"X-More: x\r\n")
            except OSError:
                return

    evil.ours = OidcProviders([evil.issuer], timeout=0.2)
    evil.paths["/.well-known/openid-configuration"] = slow
    began = time.monotonic()
    try:
        assert evil.why(lambda: evil.ours.metadata(evil.provider))[0] == "ProviderUnavailable"
        assert time.monotonic() - began < 2
    finally:
        ended.set()


def test_a_greeting_that_never_ends() -> None:
    """The same within TLS: one message that comes byte by byte."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        taken, _ = listener.accept()
        with taken:
            taken.sendall(b"\x16\x03\x03\x3f\x00\x02\x00\x3e\xfc")
            while not ended.wait(0.05):
                try:
                    taken.sendall(b"\x00")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        issuer = f"https://127.0.0.1:{listener.getsockname()[1]}"
        provider = _provider(issuer)
        began = time.monotonic()
        try:
            with pytest.raises(Refusal, match="no answer in time"):
                OidcProviders([issuer], timeout=0.2).metadata(provider)
            assert time.monotonic() - began < 2
        finally:
            ended.set()


def _provider(issuer: str) -> IdentityProvider:
    return IdentityProvider(
        IdentityProviderId("p"), TenancyId("t"), "evil", "ENABLED", issuer, "keystead", ("openid",), (), "",
        "sub", "preferred_username", "groups", True, False, False, "all", (), "", ManualClock().now(),
    )  # fmt: skip


def _at(provider: IdentityProvider, issuer: str) -> IdentityProvider:
    return replace(provider, issuer=issuer)
