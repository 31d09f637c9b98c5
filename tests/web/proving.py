"""Clients that prove what they have: DPoP and signed requests, good and bad ones, made by hand."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from keystead.core.ids import new_id
from keystead.crypto.proofkey import PublicJwk

ROOT = "/keystead/v1"
_RSA: list[rsa.RSAPrivateKey] = []


def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    while len(_RSA) <= number:
        _RSA.append(rsa.generate_private_key(65537, 2048))
    return _RSA[number]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class Key:
    """A key pair of a client's."""

    private: Any = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def public(self) -> PublicJwk:
        pem = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return PublicJwk.from_pem(pem.decode())

    @property
    def alg(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "EdDSA"

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return bytes(self.private.sign(message))

    def proof(
        self, token: str, method: str, path: str, now: datetime, head: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A DPoP proof; `...` takes a member away."""
        header = {"typ": "dpop+jwt", "alg": self.alg, "jwk": json.loads(self.public.text)} | (head or {})
        body = {
            "jti": new_id("request", "home"),
            "htm": method,
            "htu": f"https://test{ROOT}{path}",
            "iat": int(now.timestamp()),
            "ath": b64(hashlib.sha256(token.encode()).digest()),
        } | claims
        kept = {name: value for name, value in body.items() if value is not ...}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(kept).encode())}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"

    def dpop(self, token: str, method: str, path: str, now: datetime, **given: Any) -> dict[str, str]:
        return {"authorization": f"DPoP {token}", "dpop": self.proof(token, method, path, now, **given)}

    def signature(
        self,
        key_id: str,
        method: str,
        path: str,
        now: datetime,
        body: bytes | None = None,
        *,
        names: str = "",
        host: str = "test",
        **changed: str,
    ) -> dict[str, str]:
        """The headers of a request signed as OCI's clients do; `changed` are parameters told otherwise."""
        headers = {"date": format_datetime(now, usegmt=True), "host": host}
        wanted = ["date", "(request-target)", "host"]
        if body is not None:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers |= {
                "content-length": str(len(body)),
                "content-type": "application/json",
                "x-content-sha256": digest,
            }
            wanted += ["content-length", "content-type", "x-content-sha256"]
        if names:
            wanted = names.split()
        lines = [
            f"{name}: {method.lower() + ' ' + ROOT + path if name == '(request-target)' else headers[name]}"
            for name in wanted
        ]
        signature = base64.b64encode(self.sign("\n".join(lines).encode())).decode()
        algorithm = "rsa-sha256" if self.alg == "RS256" else "ed25519"
        told = {
            "algorithm": algorithm,
            "headers": " ".join(wanted),
            "keyId": key_id,
            "signature": signature,
            "version": "1",
        } | changed
        parameters = ",".join(f'{name}="{value}"' for name, value in told.items())
        return headers | {"authorization": f"Signature {parameters}"}
