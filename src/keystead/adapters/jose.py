"""Signed tokens with joserfc: JWS compact serialization (RFC 7515), EdDSA over Ed25519 (RFC 8037) and nothing else.

The algorithm is fixed here and never taken from the token: `none` and every other name in a header are refused.
"""

import base64
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from keystead.crypto.sign import SigningKey
from keystead.iam.ports import Claims, MachineKeys, TokenAlgorithm
from keystead.iam.tokens import invalid_token

ALGORITHMS = ["Ed25519"]
MAX_TOKEN = 4096
REGION_KEY = "region"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class JoseCodec:
    """Signs with one Ed25519 key named `kid`; verifies with it, or with the machines' keys."""

    def __init__(self, key: SigningKey, kid: str = REGION_KEY) -> None:
        self._kid = kid
        jwk = key.reveal_jwk()
        self._key = OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d")})

    def sign(self, claims: Claims, algorithm: TokenAlgorithm = "Ed25519") -> str:
        return jwt.encode({"alg": ALGORITHMS[0], "kid": self._kid}, dict(claims), self._key, algorithms=ALGORITHMS)

    def verify(self, token: str, public_key_of: MachineKeys) -> Mapping[str, object]:
        if len(token) > MAX_TOKEN:
            raise invalid_token()
        try:
            decoded = jwt.decode(token, lambda found: self._find(found, public_key_of), algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise invalid_token() from error
        claims: Mapping[str, object] = decoded.claims
        if ("machine" in claims) != (decoded.header.get("kid") != self._kid):
            raise invalid_token()
        if "machine" in claims and claims["machine"] != decoded.header.get("kid"):
            raise invalid_token()
        return claims

    def _find(self, found: Any, public_key_of: MachineKeys) -> OKPKey:
        kid = found.headers().get("kid")
        if kid == self._kid:
            return self._key
        public = public_key_of(kid) if isinstance(kid, str) else None
        if public is None:
            raise invalid_token()
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _b64(public)})
