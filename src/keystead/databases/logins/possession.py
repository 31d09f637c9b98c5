"""Reading what a client sent, and whether it proved that it holds the key its token is bound to.

    token   the token as a password         only tokens that are bound to no key: anybody could send what was stolen
    openid  the token, in OpenID's envelope  likewise
    oci     {"fingerprint", "signature", "token"}: signature is base64 of RSASSA-PKCS1-v1_5 with SHA-256 over the nonce
            that this server has just made (MySQL's authentication_oci_client); the key is the token's `jwk` claim

A nonce is made by the server for one login and never comes from the client, so a signature cannot be used again.
"""

import base64
import binascii
import json
from collections.abc import Mapping

from keystead.core.errors import Refusal
from keystead.crypto.proofkey import PublicJwk
from keystead.databases.logins.model import LoginRequest
from keystead.iam.tokens import invalid_token

NONCE_LENGTH = 32
MAX_PAYLOAD = 16_384


def token_of(asked: LoginRequest) -> str:
    """The token in what the client sent. Raises: Refusal: none."""
    if len(asked.payload) > MAX_PAYLOAD:
        raise invalid_token()
    try:
        if asked.client != "oci":
            return asked.payload.decode("ascii")
        token = _answer(asked).get("token")
    except ValueError:
        raise invalid_token() from None
    if not isinstance(token, str) or not token.isascii():
        raise invalid_token()
    return token.strip()


def why_not_theirs(asked: LoginRequest, token: str) -> str:
    """Why a token, whose own signature holds, may not be used by who sent it; empty when it may."""
    claims = _claims(token)
    jwk, bound = claims.get("jwk"), "cnf" in claims or "jwk" in claims
    if asked.client != "oci":
        return "the token is bound to a key, and came without proof of it" if bound else ""
    if not isinstance(jwk, str):
        return "the token names no key that could be proved"
    try:
        signature = base64.b64decode(str(_answer(asked).get("signature", "")), validate=True)
        key = PublicJwk.from_jwk(json.loads(jwk))
    except (ValueError, AttributeError, TypeError, Refusal):
        return "the answer to the nonce cannot be read"
    if len(asked.nonce) != NONCE_LENGTH or not key.verify(asked.nonce, signature):
        return "the nonce was signed with another key"
    return ""


def _answer(asked: LoginRequest) -> Mapping[str, object]:
    found = json.loads(asked.payload)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _claims(token: str) -> Mapping[str, object]:
    """The claims of a token that has been verified."""
    middle = token.split(".")[1]
    try:
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (binascii.Error, ValueError):
        return {"cnf": None}  # cannot be; were it so, it would be taken for a bound one
    return found if isinstance(found, dict) else {"cnf": None}
