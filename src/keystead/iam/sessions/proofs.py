"""Proof of possession: that a request was made with a key, and was made now, for this region, and once.

    DPoP (RFC 9449)   DPoP: <JWS>   {"typ":"dpop+jwt","alg":"EdDSA"|"RS256","jwk":{...}}
                                    {"jti":...,"htm":"POST","htu":"https://host/path","iat":...,"ath":sha256(token)}
    signed request    Authorization: Signature version="1",keyId="...",algorithm="rsa-sha256"|"ed25519",
    (draft-cavage,      headers="date (request-target) host ...",signature="..."
     as OCI signs)    keyId: ST$<token>, or <tenancy>/<user>/<fingerprint> of an API key

Every way in which a proof does not hold is one refusal. A DPoP proof is good for a minute and once; a signed request is
good for five minutes either way, as its standard has it, and deletions are taken once. The algorithm is the key's, a
header only repeats it. A name that is signed may come once only, in the request and in the list.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hmac import compare_digest
from typing import Any, TypeGuard

from keystead.core import canonical
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.sessions.ports import SeenProofs
from keystead.iam.tokens import invalid_token

DPOP_AGE = timedelta(seconds=60)
DPOP_AHEAD = timedelta(seconds=10)
SIGNED_SKEW = timedelta(minutes=5)
MAX_PROOF = 4096
_MEMBERS = {"OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"\\]*)"')
_UPLOAD = re.compile(r"/n/[^/]+/b/[^/]+/[ou]/[^?]")
_PLACE = re.compile(r"(https?)://([A-Za-z0-9.:_\[\]-]+)(/[!-~]*)")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Request:
    """What a proof is about. `target` is as it was sent, query included; `headers` in lower case; `names` are those
    the region goes by (empty: any).
    """

    method: str
    target: str
    headers: Iterable[tuple[bytes, bytes]]
    names: frozenset[str]
    now: datetime

    def header(self, name: str) -> str | None:
        """The one header of that name; None when there is none. Raises: Refusal, there are several."""
        wanted = name.encode()
        found = [value for key, value in self.headers if key == wanted]
        if len(found) > 1:
            raise invalid_token()
        return found[0].decode("latin-1") if found else None

    def host(self) -> str:
        """The Host header, when it is the region's. Raises: Refusal."""
        host = (self.header("host") or "").lower()
        if not host or (self.names and _hostname(host) not in self.names):
            raise invalid_token()
        return host


def dpop(text: str, token: str, request: Request, key: PublicJwk, seen: SeenProofs) -> bool:
    """Whether the DPoP proof `text` shows `key` for this request with this token. False or a Refusal: it does not."""
    if len(text) > MAX_PROOF or text.count(".") != 2:
        return False
    head, payload, signature = text.split(".")
    header, claims = _object(head), _object(payload)
    if header.get("typ") != "dpop+jwt" or header.get("alg") not in key.algorithms or "crit" in header:
        return False
    if not _same_key(header.get("jwk"), key):
        return False
    jti, issued, htu = claims.get("jti"), claims.get("iat"), claims.get("htu")
    if not _plain(jti) or not 8 <= len(jti) <= 128 or not isinstance(htu, str) or len(htu) > 8192:
        return False
    if not isinstance(issued, int) or isinstance(issued, bool) or not 0 < issued < 2**40:
        return False
    at = datetime.fromtimestamp(issued, UTC)
    if not request.now - DPOP_AGE <= at <= request.now + DPOP_AHEAD:
        return False
    if claims.get("htm") != request.method or not _same_place(htu, request):
        return False
    ath = claims.get("ath")
    if not _plain(ath) or not compare_digest(ath.encode(), _b64(hashlib.sha256(token.encode()).digest())):
        return False
    if not key.verify(f"{head}.{payload}".encode(), _unb64(signature)):
        return False
    mark = hashlib.sha256(f"dpop\0{key.thumbprint}\0{jti}".encode()).digest()
    return seen.first(mark, (at + DPOP_AGE + DPOP_AHEAD).timestamp())


@dataclass(frozen=True, slots=True)
class Signed:
    """A request's signature, read but not yet verified. `digest` is what the body's SHA-256 must be; None: no body."""

    key_id: str
    algorithm: str
    message: bytes
    signature: bytes
    digest: bytes | None
    once: bool
    until: float

    def shows(self, key: PublicJwk, seen: SeenProofs) -> bool:
        """Whether it is `key`'s."""
        if (self.algorithm == "rsa-sha256") != ("RS256" in key.algorithms) or not key.verify(
            self.message, self.signature
        ):
            return False
        mark = hashlib.sha256(b"signed\0" + self.signature).digest()
        return not self.once or seen.first(mark, self.until)


def signed(authorization: str, request: Request) -> Signed:
    """Read a signed request, and check everything that needs no key. Raises: Refusal."""
    given = _parameters(authorization)
    names = given.get("headers", "").lower().split(" ")
    stamp = "x-date" if "x-date" in names else "date"
    needed = {stamp, "host", "(request-target)"}
    if request.method in _WITH_BODY and not (request.method == "PUT" and _UPLOAD.match(request.target)):
        needed |= {"content-length", "content-type", "x-content-sha256"}
    if not needed <= set(names) or len(names) != len(set(names)) or len(names) > 32:
        raise invalid_token()
    request.host()
    at = _date(request.header(stamp))
    if abs(request.now - at) > SIGNED_SKEW:
        raise invalid_token()
    digest = None
    if "x-content-sha256" in names:
        digest = _decoded(request.header("x-content-sha256") or "")
    lines = [f"{name}: {_signed_value(name, request)}" for name in names]
    return Signed(
        given["keyId"],
        given["algorithm"],
        "\n".join(lines).encode("latin-1"),
        _decoded(given["signature"]),
        digest,
        request.method == "DELETE",
        (at + SIGNED_SKEW).timestamp(),
    )


def is_body(digest: bytes | None, body: bytes) -> bool:
    """Whether `body` is the one that was signed; without a digest, whether there is none."""
    return not body if digest is None else compare_digest(digest, hashlib.sha256(body).digest())


def _parameters(authorization: str) -> Mapping[str, str]:
    scheme, _, rest = authorization.partition(" ")
    found = _PARAMETER.findall(rest)
    given = dict(found)
    plain = ",".join(f'{name}="{value}"' for name, value in found)
    if scheme.lower() != "signature" or len(given) != len(found) or plain != rest.replace('", ', '",').strip():
        raise invalid_token()
    if given.get("version") != "1" or given.get("algorithm") not in ("rsa-sha256", "ed25519"):
        raise invalid_token()
    if not given.get("keyId") or not given.get("signature"):
        raise invalid_token()
    return given


def _signed_value(name: str, request: Request) -> str:
    if name == "(request-target)":
        return f"{request.method.lower()} {request.target}"
    value = request.header(name)
    if value is None:
        raise invalid_token()
    return value


def _date(text: str | None) -> datetime:
    try:
        found = parsedate_to_datetime(text or "")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid_token() from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_token() from error


def _same_key(jwk: Any, key: PublicJwk) -> bool:
    """Whether the proof's key is the token's: by its members, which is quicker than making a key of them."""
    if not isinstance(jwk, dict):
        return False
    members = _MEMBERS.get(str(jwk.get("kty")))
    if members is None or "d" in jwk or "p" in jwk or not all(_plain(jwk.get(name)) for name in members):
        return False
    return canonical.encode({name: jwk[name] for name in members}) == key.text.encode()


def _plain(value: object) -> TypeGuard[str]:
    """Whether it is text that has one spelling in bytes: JSON may bring halves of letters, which have none."""
    return isinstance(value, str) and value.isascii()


def _same_place(htu: str, request: Request) -> bool:
    parts = _PLACE.fullmatch(htu)
    if parts is None:
        return False
    usual = ":443" if parts[1] == "https" else ":80"
    same = parts[2].lower().removesuffix(usual) == request.host().removesuffix(usual)
    return same and parts[3] == request.target.partition("?")[0]


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _object(part: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_unb64(part), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise invalid_token() from error
    if not isinstance(found, dict):
        raise invalid_token()
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_token() from error
