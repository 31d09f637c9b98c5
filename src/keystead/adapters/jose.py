"""Signed tokens with joserfc: JWS compact serialization (RFC 7515), Ed25519 (RFC 8037, RFC 9864) and RS256.

Each key has one algorithm, which is never taken from the token: `none` and every other name in a header are refused,
and so is a header that names another algorithm than that of the key which its `kid` names.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey, RSAKey

from keystead.core.errors import Refusal
from keystead.crypto.sign import SigningKey
from keystead.iam.ports import Claims, MachineKeys, TokenAlgorithm
from keystead.iam.sessions.model import TokenKey
from keystead.iam.sessions.ports import SessionRows
from keystead.iam.tokens import invalid_token

ALGORITHMS = ["Ed25519", "RS256"]
MAX_TOKEN = 4096
REGION_KEY = "region"
REGION_RSA = "region-rs256"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


Key = OKPKey | RSAKey


class Keys(Protocol):
    """The keys of whoever signs, by name. Thread-safe."""

    def signing(self, algorithm: TokenAlgorithm) -> tuple[str, Key]:
        """The name and the key that signs by this algorithm now. Raises: Refusal, Unavailable."""
        ...

    def verifying(self, kid: str) -> tuple[TokenAlgorithm, Key] | None:
        """The key of that name, and what it signs by."""
        ...

    def published(self) -> Sequence[tuple[str, TokenAlgorithm, Key]]: ...
    def epoch(self, generation: int) -> int: ...
    def new(self, now: datetime) -> Sequence[TokenKey]: ...
    def rotate(self, rows: SessionRows, made: Sequence[TokenKey], retired_at: datetime) -> None: ...


class OneKey:
    """A single Ed25519 key, for ever: a machine's."""

    def __init__(self, key: SigningKey, kid: str) -> None:
        self._kid = kid
        self._key = ed25519_key(key)

    def signing(self, algorithm: TokenAlgorithm) -> tuple[str, Key]:
        if algorithm != "Ed25519":
            raise Refusal("AlgorithmNotOffered", "tokens are not signed by RS256 here", hint="take Ed25519")
        return self._kid, self._key

    def verifying(self, kid: str) -> tuple[TokenAlgorithm, Key] | None:
        return ("Ed25519", self._key) if kid == self._kid else None

    def published(self) -> Sequence[tuple[str, TokenAlgorithm, Key]]:
        return [(self._kid, "Ed25519", self._key)]

    def epoch(self, _generation: int) -> int:
        return 0

    def new(self, _now: datetime) -> Sequence[TokenKey]:
        raise Refusal("AlgorithmNotOffered", "this key is not replaced")

    def rotate(self, _rows: SessionRows, _made: Sequence[TokenKey], _retired_at: datetime) -> None:
        raise Refusal("AlgorithmNotOffered", "this key is not replaced")


class JoseCodec:
    """Signs with the newest of `keys`, or with one Ed25519 key named `kid`; verifies with all of them, or with the
    machines' keys.
    """

    def __init__(self, key: SigningKey | Keys, kid: str = REGION_KEY) -> None:
        self._keys: Keys = OneKey(key, kid) if isinstance(key, SigningKey) else key

    def sign(self, claims: Claims, algorithm: TokenAlgorithm = "Ed25519") -> str:
        kid, key = self._keys.signing(algorithm)
        return jwt.encode({"alg": algorithm, "kid": kid}, dict(claims), key, algorithms=[algorithm])

    def verify(self, token: str, public_key_of: MachineKeys) -> Mapping[str, object]:
        if len(token) > MAX_TOKEN:
            raise invalid_token()
        machines: list[str] = []
        try:
            decoded = jwt.decode(token, lambda found: self._find(found, public_key_of, machines), algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise invalid_token() from error
        claims: Mapping[str, object] = decoded.claims
        if ("machine" in claims) != bool(machines):
            raise invalid_token()
        if machines and claims["machine"] != machines[0]:
            raise invalid_token()
        return claims

    def public_keys(self) -> list[dict[str, str]]:
        """The JWK set (RFC 7517) by which others verify our tokens."""
        found = []
        for kid, algorithm, key in self._keys.published():
            shown = {name: str(value) for name, value in key.as_dict(private=False).items()}
            members = ("kty", "crv", "x") if algorithm == "Ed25519" else ("kty", "n", "e")
            found.append(_public(shown, members, kid, algorithm))
        return found

    def epoch(self, generation: int) -> int:
        return self._keys.epoch(generation)

    def new_keys(self, now: datetime) -> Sequence[TokenKey]:
        return self._keys.new(now)

    def rotate(self, rows: SessionRows, made: Sequence[TokenKey], retired_at: datetime) -> None:
        self._keys.rotate(rows, made, retired_at)

    def _find(self, found: Any, public_key_of: MachineKeys, machines: list[str]) -> Key:
        """Our key, or a machine's, whose name is noted in `machines`."""
        headers = found.headers()
        kid, algorithm = headers.get("kid"), headers.get("alg")
        if not isinstance(kid, str):
            raise invalid_token()
        ours = self._keys.verifying(kid)
        if ours is not None:
            if algorithm != ours[0]:
                raise invalid_token()
            return ours[1]
        public = public_key_of(kid) if algorithm == "Ed25519" else None
        if public is None:
            raise invalid_token()
        machines.append(kid)
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _b64(public)})


def ed25519_key(key: SigningKey) -> OKPKey:
    """As joserfc wants it."""
    jwk = key.reveal_jwk()
    return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d")})


def _public(shown: Mapping[str, str], members: tuple[str, ...], kid: str, algorithm: str) -> dict[str, str]:
    return {name: shown[name] for name in members} | {"kid": kid, "use": "sig", "alg": algorithm}
