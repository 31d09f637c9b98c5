"""The session key of who is signed in, and proofs of it (RFC 9449).

Each request that is sent with a bound token carries one proof: for its method, its address, its moment, and once.
"""

import base64
import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keystead.core.secret import Secret

if TYPE_CHECKING:
    from keystead.crypto.sign import SigningKey


class SessionKey:
    """An Ed25519 key of this sign-in alone."""

    def __init__(self, key: "SigningKey") -> None:
        self._key = key
        public = key.public.jwk()
        self._jwk = {name: public[name] for name in ("kty", "crv", "x")}

    @classmethod
    def generate(cls) -> "SessionKey":
        """A new one."""
        from keystead.crypto.sign import SigningKey

        return cls(SigningKey.generate())

    @classmethod
    def from_pem(cls, text: str) -> "SessionKey":
        """The one that was kept. Raises: Refusal `InvalidKey`."""
        from keystead.crypto.sign import SigningKey

        return cls(SigningKey.from_pem(Secret(text.encode())))

    def reveal_pem(self) -> str:
        """The key itself, to be kept where its owner alone can read."""
        return self._key.reveal_pem().reveal().decode()

    @property
    def public(self) -> str:
        """The public half: a JWK, as text."""
        return json.dumps(self._jwk)

    def headers(self, token: str, method: str, url: str, target: str) -> dict[str, str]:
        """What a request to `target` at the region of `url` carries."""
        parts = urlsplit(url)
        place = "http://localhost" if parts.scheme == "unix" else f"{parts.scheme}://{parts.netloc}"
        head = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self._jwk}
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": place + target.partition("?")[0],
            "iat": int(time.time()),
            "ath": _b64(hashlib.sha256(token.encode()).digest()),
        }
        signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(claims).encode())}"
        proof = f"{signed}.{_b64(self._key.sign(signed.encode()))}"
        return {"Authorization": f"DPoP {token}", "DPoP": proof}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
