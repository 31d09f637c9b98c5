"""A provider that believes everybody: it says what it was told to say for a code. Its network is a dictionary."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from keystead.core.clock import Clock
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.federation.claims import refused
from keystead.iam.federation.model import IdentityProvider
from keystead.iam.federation.ports import Metadata, Redeemed

ISSUER = "https://id.example.com"


class FakeProvider:
    """`Provider` in memory. `approve` is what a person does in the browser; `down` makes it unreachable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._codes: dict[str, dict[str, Any]] = {}
        self.info: Mapping[str, object] = {}
        self.says_issuer = False
        self.down = False

    def approve(self, url: str, subject: str = "s-1", **claims: Any) -> dict[str, str]:
        """Sign in at the address that a sign-in begins with; returns what the browser brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        now = int(self._clock.now().timestamp())
        code = f"code-{len(self._codes)}"
        token = {
            "iss": ISSUER, "aud": asked["client_id"], "sub": subject, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "preferred_username": "ada",
        } | claims  # fmt: skip
        self._codes[code] = {
            "claims": {name: value for name, value in token.items() if value is not None},
            "challenge": asked["code_challenge"],
            "redirect_uri": asked["redirect_uri"],
        }
        return {"state": asked["state"], "code": code}

    def metadata(self, provider: IdentityProvider) -> Metadata:
        self._up()
        return Metadata(f"{ISSUER}/authorize", self.says_issuer)

    def redeem(
        self, provider: IdentityProvider, secret: Secret, code: str, verifier: str, redirect_uri: str
    ) -> Redeemed:
        self._up()
        held = self._codes.pop(code, None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if held is None or held["challenge"] != digest or held["redirect_uri"] != redirect_uri:
            raise refused("the provider does not take the code")
        return Redeemed(held["claims"], "digest", Secret(b"access"))

    def user_info(self, provider: IdentityProvider, access_token: Secret) -> Mapping[str, object]:
        self._up()
        return self.info

    def _up(self) -> None:
        if self.down:
            raise Refusal("ProviderUnavailable", "the identity provider does not answer", kind="unavailable")
