"""The table of forgeries: what is not a token of ours, in the hands of whom it was given to, opens nothing.

Through the real pipeline; each is refused with the same words, recorded once, and changes nothing.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.web.asgi import Reply
from tests.web.proving import Key, b64, rsa_key
from tests.web.region import REGION, Region, open_region

from keystead.adapters.jose import JoseCodec
from keystead.core.ids import new_id
from keystead.crypto.sign import SigningKey
from keystead.iam.model import IssuedToken

WHO = "/auth/whoami"


class World:
    """A region and somebody of it with a bound token, an Ed25519 key and an RSA key."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.client = region.client("")
        self.key, self.rsa, self.other = Key(), Key(rsa_key()), Key()
        self.caller = region.caller("root")
        tokens = region.services.iam._tokens
        self.tokens = tokens
        self.bound = tokens.issue(self.caller.principal, factors=("password",), key=self.key.public).token
        self.bound_rsa = tokens.issue(self.caller.principal, factors=("password",), key=self.rsa.public).token
        self.bearer = region.tokens["root"]
        host = region.services.iam.authenticate(region.tokens["host"], "test", "test")
        self.system = region.ids["db_system_id"]
        pem = self.key.public.pem()
        self.resource = region.services.login_desk.issue_session(host, self.system, pem).token
        for key, name in ((self.rsa, "rsa"), (self.key, "ed")):
            region.services.iam.create_api_key(self.caller, self.caller.principal.id, name, key.public.pem())

    @property
    def now(self) -> Any:
        return self.region.clock.now()

    def key_id(self, key: Key) -> str:
        return f"{self.caller.principal.tenancy}/{self.caller.principal.id}/{key.public.fingerprint}"

    def claims(self, **changes: Any) -> dict[str, Any]:
        found = json.loads(base64.urlsafe_b64decode(self.bearer.split(".")[1] + "=="))
        return {name: value for name, value in (found | changes).items() if value is not ...}

    def signed(self, **changes: Any) -> str:
        return self.region.codec.sign(self.claims(**changes))

    def ask(self, headers: dict[str, str], method: str = "GET", path: str = WHO, **given: Any) -> Reply:
        reply: Reply = self.client.call(method, path, token="", headers=headers, **given)
        return reply


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(open_region(tmp_path_factory.mktemp("region")))
    yield made
    made.client.close()


def by(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def raw(head: dict[str, Any], claims: dict[str, Any], key: bytes | None = None) -> str:
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(hmac.new(key, text.encode(), hashlib.sha256).digest()) if key is not None else ''}"


def seconds(world: World, by_: float) -> dict[str, int]:
    at = world.now + timedelta(seconds=by_)
    micro = int(at.timestamp()) * 1_000_000
    return {"iat": micro // 1_000_000, "at": micro, "exp": micro // 1_000_000 + 3600}


PUBLIC = "its public key, as bytes"
FORGERIES: dict[str, Callable[[World], dict[str, str]]] = {
    "nothing": lambda w: {},
    "no scheme": lambda w: {"authorization": w.bearer},
    "another scheme": lambda w: {"authorization": f"Basic {w.bearer}"},
    "alg none": lambda w: by(raw({"alg": "none"}, w.claims())),
    "alg none, with our kid": lambda w: by(raw({"alg": "none", "kid": "region"}, w.claims())),
    "HS256 by our public key": lambda w: by(raw({"alg": "HS256", "kid": "region"}, w.claims(), _public(w))),
    "HS256 by our public key as text": lambda w: by(
        raw({"alg": "HS256", "kid": "region"}, w.claims(), b64(_public(w)).encode())
    ),
    "another's key": lambda w: by(JoseCodec(SigningKey.generate()).sign(w.claims())),
    "another's key, that comes along": lambda w: by(_with_jwk(w)),
    "a machine's key": lambda w: by(JoseCodec(w.region.machine_key, kid=w.region.machine).sign(w.claims())),
    "kid that climbs": lambda w: by(raw({"alg": "Ed25519", "kid": "../../../../dev/null"}, w.claims(), b"")),
    "kid of SQL": lambda w: by(raw({"alg": "Ed25519", "kid": "' OR 1=1 --"}, w.claims(), b"")),
    "kid that is a list": lambda w: by(raw({"alg": "Ed25519", "kid": ["region"]}, w.claims(), b"")),
    "no kid": lambda w: by(raw({"alg": "Ed25519"}, w.claims(), b"")),
    "crit": lambda w: by(raw({"alg": "Ed25519", "kid": "region", "crit": ["exp"]}, w.claims(), b"")),
    "another issuer": lambda w: by(w.signed(iss="elsewhere")),
    "another region's audience": lambda w: by(w.signed(aud="keystead:elsewhere:api")),
    "the audience of databases": lambda w: by(_databases(w).token),
    "no audience": lambda w: by(w.signed(aud=...)),
    "two audiences": lambda w: by(w.signed(aud=[f"keystead:{REGION}:api", "x"])),
    "another tenancy": lambda w: by(w.signed(tenant=w.region.ids["other_tenancy"])),
    "a user of another tenancy": lambda w: by(w.signed(sub=w.region.ids["other_root"])),
    "nobody": lambda w: by(w.signed(sub=new_id("user", REGION))),
    "expired": lambda w: by(w.signed(**seconds(w, -3601))),
    "not yet": lambda w: by(w.signed(**seconds(w, 120))),
    "of a day": lambda w: by(w.signed(exp=w.claims()["exp"] + 86400)),
    "no expiry": lambda w: by(w.signed(exp=...)),
    "a factor that is none": lambda w: by(w.signed(amr=["friend"])),
    "a risk that is none": lambda w: by(w.signed(risk=-1)),
    "bound to a key that is not there": lambda w: by(w.signed(cnf={"jkt": "x"})),
    "bound to one key, with another": lambda w: by(
        w.signed(cnf={"jkt": w.other.public.thumbprint}, jwk=w.key.public.text)
    ),
    "truncated": lambda w: by(w.bearer[:-10]),
    "two parts": lambda w: by(".".join(w.bearer.split(".")[:2])),
    "oversized": lambda w: by(w.bearer + "A" * 5000),
    "with a line break": lambda w: by(w.bearer[:50] + "\n" + w.bearer[50:]),
    "not ASCII": lambda w: by(w.bearer[:-1] + "é"),
    "stolen: bound, shown as a bearer token": lambda w: by(w.bound),
    "stolen: bound, without a proof": lambda w: {"authorization": f"DPoP {w.bound}"},
    "stolen: bound, proved with another key": lambda w: w.other.dpop(w.bound, "GET", WHO, w.now),
    "stolen: proved with another key under its name": lambda w: w.other.dpop(
        w.bound, "GET", WHO, w.now, head={"jwk": json.loads(w.key.public.text)}
    ),
    "a bearer token with a proof": lambda w: w.key.dpop(w.bearer, "GET", WHO, w.now),
    "a proof of another token": lambda w: (
        w.key.dpop(w.bound, "GET", WHO, w.now) | {"authorization": f"DPoP {w.bound_rsa}"}
    ),
    "a proof for another method": lambda w: w.key.dpop(w.bound, "POST", WHO, w.now),
    "a proof for another path": lambda w: w.key.dpop(w.bound, "GET", "/users", w.now),
    "a proof for another host": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, htu="https://evil/keystead/v1" + WHO),
    "a proof for a host with our name in it": lambda w: w.key.dpop(
        w.bound, "GET", WHO, w.now, htu="https://test@evil/keystead/v1" + WHO
    ),
    "a proof of last week": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now - timedelta(days=7)),
    "a proof of two minutes ago": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now - timedelta(seconds=120)),
    "a proof of tomorrow": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now + timedelta(days=1)),
    "a proof without an id": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, jti=...),
    "a proof without the token's hash": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, ath=...),
    "a proof of another kind": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, head={"typ": "JWT"}),
    "a proof by no algorithm": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, head={"alg": "none"}),
    "a proof by the other algorithm": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, head={"alg": "RS256"}),
    "a proof with a private key": lambda w: w.key.dpop(
        w.bound, "GET", WHO, w.now, head={"jwk": json.loads(w.key.public.text) | {"d": "AAAA"}}
    ),
    "a proof that is too long": lambda w: w.key.dpop(w.bound, "GET", WHO, w.now, jti="x" * 5000),
    "a proof that is none": lambda w: {"authorization": f"DPoP {w.bound}", "dpop": "a.b.c"},
    "signed with another key": lambda w: w.other.signature(w.key_id(w.key), "GET", WHO, w.now),
    "signed with an unknown key": lambda w: w.other.signature(w.key_id(w.other), "GET", WHO, w.now),
    "signed as of another tenancy": lambda w: w.key.signature(
        w.key_id(w.key).replace(w.region.ids["tenancy"], w.region.ids["other_tenancy"]), "GET", WHO, w.now
    ),
    "signed as somebody else": lambda w: w.key.signature(
        w.key_id(w.key).replace(w.region.ids["root"], w.region.ids["nobody"]), "GET", WHO, w.now
    ),
    "signed ten minutes ago": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now - timedelta(minutes=10)),
    "signed ten minutes hence": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now + timedelta(minutes=10)),
    "signed for another path": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", "/users", w.now),
    "signed for another method": lambda w: w.rsa.signature(w.key_id(w.rsa), "DELETE", WHO, w.now),
    "signed without the host": lambda w: w.rsa.signature(
        w.key_id(w.rsa), "GET", WHO, w.now, names="date (request-target)"
    ),
    "signed names twice": lambda w: w.rsa.signature(
        w.key_id(w.rsa), "GET", WHO, w.now, names="date date (request-target) host"
    ),
    "signed with a date that is none": lambda w: (
        w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now) | {"date": "the day after"}
    ),
    "signed with no base64": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now, signature="~~"),
    "signed without a key": lambda w: w.rsa.signature("", "GET", WHO, w.now),
    "signed by SHA-1": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now, algorithm="rsa-sha1"),
    "signed by the other kind": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now, algorithm="ed25519"),
    "signed in another version": lambda w: w.rsa.signature(w.key_id(w.rsa), "GET", WHO, w.now, version="2"),
    "stolen: a bound token signed with another key": lambda w: w.other.signature(f"ST${w.bound}", "GET", WHO, w.now),
    "a bearer token that is signed": lambda w: w.rsa.signature(f"ST${w.bearer}", "GET", WHO, w.now),
    "stolen: a system's token, shown as a bearer token": lambda w: by(w.resource),
    "stolen: a system's token, without a proof": lambda w: {"authorization": f"DPoP {w.resource}"},
    "stolen: a system's token, proved with another key": lambda w: w.other.dpop(w.resource, "GET", WHO, w.now),
    "stolen: a system's token, signed with another key": lambda w: w.other.signature(
        f"ST${w.resource}", "GET", WHO, w.now
    ),
    "a system's token, signed ten minutes ago": lambda w: w.key.signature(
        f"ST${w.resource}", "GET", WHO, w.now - timedelta(minutes=10)
    ),
    "a system of another tenancy": lambda w: w.key.dpop(
        _as_system(w, sub=w.region.ids["other_db_system_id"]), "GET", WHO, w.now
    ),
    "a system's token under another tenancy": lambda w: w.key.dpop(
        _as_system(w, tenant=w.region.ids["other_tenancy"]), "GET", WHO, w.now
    ),
    "a system's token by the machine that runs it": lambda w: by(
        JoseCodec(w.region.machine_key, kid=w.region.machine).sign(w.claims(sub=w.system, amr=["resource"]))
    ),
    "a system's token, expired": lambda w: w.key.dpop(_as_system(w, **seconds(w, -3601)), "GET", WHO, w.now),
    "a system's token, not yet": lambda w: w.key.dpop(_as_system(w, **seconds(w, 120)), "GET", WHO, w.now),
    "a signature that is cut": lambda w: {"authorization": "Signature keyId="},
}


def _public(world: World) -> bytes:
    return bytes.fromhex(_region_key(world))


def _region_key(world: World) -> str:
    found = world.region.codec.public_keys()[0]["x"]
    return base64.urlsafe_b64decode(found + "=").hex()


def _with_jwk(world: World) -> str:
    evil = SigningKey.generate()
    head = {"alg": "Ed25519", "kid": "region", "jwk": evil.public.jwk()}
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(world.claims()).encode())}"
    return f"{text}.{b64(evil.sign(text.encode()))}"


def _as_system(world: World, **changes: Any) -> str:
    """A token as the region would sign it for a database system, with something told otherwise."""
    bound = {"cnf": {"jkt": world.key.public.thumbprint}, "jwk": world.key.public.text}
    told: dict[str, Any] = {"sub": world.system, "sid": "", "amr": ["resource"], **bound, **changes}
    return world.signed(**told)


def _databases(world: World) -> IssuedToken:
    issued: IssuedToken = world.tokens.issue(world.caller.principal, audience="databases")
    return issued


def refused(world: World, run: Callable[[], Reply]) -> None:
    log, generation = world.region.log, world.region.services.generation()
    before = len(log.entries)
    reply = run()
    assert (reply.status, reply.json["code"]) == (401, "NotAuthenticated"), reply.body
    assert reply.json["message"] in (
        "the security token is missing, expired, revoked or not ours",
        "this needs a security token",
    )
    assert [entry.outcome for entry in log.entries[before:]] == ["refused"]
    assert log.durable == len(log.entries)
    assert world.region.services.generation() == generation


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused_and_recorded(world: World, name: str) -> None:
    headers = FORGERIES[name](world)
    refused(world, lambda: world.ask(headers))


def test_what_is_true_is_taken(world: World) -> None:
    for headers in (
        by(world.bearer),
        by(world.signed()),
        world.key.dpop(world.bound, "GET", WHO, world.now),
        world.rsa.dpop(world.bound_rsa, "GET", WHO, world.now),
        world.key.dpop(world.bound, "GET", WHO, world.now, head={"alg": "Ed25519"}),
        world.key.dpop(world.bound, "GET", WHO, world.now, htu="http://TEST:80/keystead/v1" + WHO),
        world.rsa.signature(world.key_id(world.rsa), "GET", WHO, world.now),
        world.rsa.signature(world.key_id(world.rsa), "GET", WHO, world.now - timedelta(seconds=290)),
        world.key.signature(world.key_id(world.key), "GET", WHO, world.now),
        world.rsa.signature(f"ST${world.bound_rsa}", "GET", WHO, world.now),
        world.key.signature(f"ST${world.bound}", "GET", WHO, world.now),
    ):
        reply = world.ask(headers)
        assert reply.status == 200 and reply.json["name"] == "root", (headers, reply.body)
    for headers in (
        world.key.dpop(world.resource, "GET", WHO, world.now),
        world.key.signature(f"ST${world.resource}", "GET", WHO, world.now),
        world.key.dpop(_as_system(world), "GET", WHO, world.now),
    ):
        reply = world.ask(headers)
        assert reply.status == 200 and reply.json["type"] == "mysqldbsystem", (headers, reply.body)


def test_a_proof_is_good_once(world: World) -> None:
    headers = world.key.dpop(world.bound, "GET", WHO, world.now)
    assert world.ask(headers).status == 200
    refused(world, lambda: world.ask(headers))


def test_a_header_twice_is_none(world: World) -> None:
    proof = world.key.dpop(world.bound, "GET", WHO, world.now)
    refused(world, lambda: world.ask(proof, twice={"dpop": proof["dpop"]}))
    refused(world, lambda: world.ask(by(world.bearer), twice=by(world.bearer)))
    signed = world.rsa.signature(world.key_id(world.rsa), "GET", WHO, world.now)
    for name in ("date", "host"):
        refused(world, lambda name=name: world.ask(signed, twice={name: signed[name]}))  # type: ignore[misc]


def test_the_body_is_what_was_signed(world: World) -> None:
    body = b'{"name": "signed"}'
    headers = world.rsa.signature(world.key_id(world.rsa), "POST", "/groups", world.now, body)
    refused(world, lambda: world.ask(headers, "POST", "/groups", raw=b'{"name": "SIGNED"}'))
    refused(world, lambda: world.ask(headers, "POST", "/groups?x=1", raw=body))
    bare = world.rsa.signature(world.key_id(world.rsa), "POST", "/groups", world.now)
    refused(world, lambda: world.ask(bare | {"content-type": "application/json"}, "POST", "/groups", raw=body))
    assert world.ask(headers, "POST", "/groups", raw=body).status == 201


def test_a_signed_deletion_is_done_once(world: World) -> None:
    path = f"/users/{world.region.ids['user_id']}/auth-tokens/{world.region.ids['auth_token_id']}"
    headers = world.rsa.signature(world.key_id(world.rsa), "DELETE", path, world.now)
    assert world.ask(headers, "DELETE", path).status == 204
    refused(world, lambda: world.ask(headers, "DELETE", path))
