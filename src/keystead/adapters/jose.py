"""Signed tokens with joserfc: JWS compact serialization (RFC 7515), Ed25519 (RFC 8037, RFC 9864) and RS256.

Each key has one algorithm, which is never taken from the token: `none` and every other name in a header are refused,
and so is a header that names another algorithm than that of the key which its `kid` names.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey, RSAKey

from keystead.core.errors import Refusal
from keystead.crypto.sign import SigningKey
from keystead.iam.ports import Claims, MachineKeys, TokenAlgorithm
from keystead.iam.tokens import invalid_token

ALGORITHMS = ["Ed25519", "RS256"]
MAX_TOKEN = 4096
REGION_KEY = "region"
REGION_RSA = "region-rs256"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class JoseCodec:
    """Signs with an Ed25519 key named `kid`, or the RSA key where there is one; verifies with them, or with the
    machines' keys.
    """

    def __init__(self, key: SigningKey, kid: str = REGION_KEY, rsa: Callable[[], RSAKey] | None = None) -> None:
        self._kid = kid
        self._rsa = rsa
        jwk = key.reveal_jwk()
        self._key = OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d")})

    def sign(self, claims: Claims, algorithm: TokenAlgorithm = "Ed25519") -> str:
        if algorithm == "Ed25519":
            return jwt.encode({"alg": algorithm, "kid": self._kid}, dict(claims), self._key, algorithms=[algorithm])
        if self._rsa is None:
            raise Refusal("AlgorithmNotOffered", "tokens are not signed by RS256 here", hint="take Ed25519")
        return jwt.encode({"alg": algorithm, "kid": REGION_RSA}, dict(claims), self._rsa(), algorithms=[algorithm])

    def verify(self, token: str, public_key_of: MachineKeys) -> Mapping[str, object]:
        if len(token) > MAX_TOKEN:
            raise invalid_token()
        try:
            decoded = jwt.decode(token, lambda found: self._find(found, public_key_of), algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise invalid_token() from error
        claims: Mapping[str, object] = decoded.claims
        kid = decoded.header.get("kid")
        if ("machine" in claims) != (kid not in (self._kid, REGION_RSA)):
            raise invalid_token()
        if "machine" in claims and claims["machine"] != kid:
            raise invalid_token()
        return claims

    def public_keys(self) -> list[dict[str, str]]:
        """The JWK set (RFC 7517) by which others verify our tokens."""
        shown = {name: str(value) for name, value in self._key.as_dict(private=False).items()}
        found = [_public(shown, ("kty", "crv", "x"), self._kid, "Ed25519")]
        if self._rsa is not None:
            shown = {name: str(value) for name, value in self._rsa().as_dict(private=False).items()}
            found.append(_public(shown, ("kty", "n", "e"), REGION_RSA, "RS256"))
        return found

    def _find(self, found: Any, public_key_of: MachineKeys) -> OKPKey | RSAKey:
        headers = found.headers()
        kid, algorithm = headers.get("kid"), headers.get("alg")
        if kid == REGION_RSA and self._rsa is not None and algorithm == "RS256":
            return self._rsa()
        if algorithm != "Ed25519":
            raise invalid_token()
        if kid == self._kid:
            return self._key
        public = public_key_of(kid) if isinstance(kid, str) else None
        if public is None:
            raise invalid_token()
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _b64(public)})


def _public(shown: Mapping[str, str], members: tuple[str, ...], kid: str, algorithm: str) -> dict[str, str]:
    return {name: shown[name] for name in members} | {"kid": kid, "use": "sig", "alg": algorithm}
