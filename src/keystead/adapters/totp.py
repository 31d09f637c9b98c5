"""`Codes` by pyotp: TOTP (RFC 6238) with SHA-1, six digits and steps of 30 seconds: what every app knows."""

import base64
import secrets

from pyotp import TOTP

SECRET_BYTES = 20  # RFC 4226, section 4: at least 128 bits, 160 recommended


class PyTotp:
    """Codes and secrets. Which step counts, and that it counts once, is decided elsewhere."""

    def new_secret(self) -> bytes:
        return secrets.token_bytes(SECRET_BYTES)

    def code(self, secret: bytes, step: int) -> str:
        return TOTP(_text(secret)).generate_otp(step)

    def uri(self, secret: bytes, account: str, issuer: str) -> str:
        return TOTP(_text(secret)).provisioning_uri(name=account, issuer_name=issuer)


def _text(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")
