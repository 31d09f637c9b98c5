"""`Authenticators` by the library webauthn (W3C Web Authentication, Level 2).

User verification is required; attestation is not asked for: whose make an authenticator is does not matter here. Every
cause of a refusal looks alike.
"""

import json
from collections.abc import Sequence

import webauthn
from webauthn.helpers import parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    UserVerificationRequirement,
)

from keystead.core.errors import Refusal
from keystead.iam.factors.ports import Registered

MAX_TEXT = 16 << 10
_BROKEN = (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class WebAuthnAuthenticators:
    """For one relying party: `rp_id` is the domain, `origins` where its pages are (https://host:port)."""

    def __init__(self, rp_id: str, origins: Sequence[str], name: str) -> None:
        self._rp_id, self._origins, self._name = rp_id, list(origins), name

    def registration(self, challenge: bytes, user: str, account: str, known: Sequence[bytes]) -> str:
        options = webauthn.generate_registration_options(
            rp_id=self._rp_id,
            rp_name=self._name,
            user_id=user.rpartition(".")[2].encode(),
            user_name=account,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=_described(known),
        )
        return webauthn.options_to_json(options)

    def registered(self, credential: str, challenge: bytes) -> Registered:
        try:
            found = webauthn.verify_registration_response(
                credential=_read(credential),
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origins,
                require_user_verification=True,
            )
        except _BROKEN as error:
            raise _refused() from error
        return Registered(found.credential_id, found.credential_public_key, found.sign_count)

    def assertion(self, challenge: bytes, known: Sequence[bytes]) -> str:
        options = webauthn.generate_authentication_options(
            rp_id=self._rp_id,
            challenge=challenge,
            allow_credentials=_described(known),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def credential_of(self, assertion: str) -> bytes:
        try:
            return parse_authentication_credential_json(_read(assertion)).raw_id
        except (*_BROKEN, Refusal):
            return b""

    def asserted(self, assertion: str, challenge: bytes, public_key: bytes, counter: int) -> int:
        try:
            found = webauthn.verify_authentication_response(
                credential=_read(assertion),
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origins,
                credential_public_key=public_key,
                credential_current_sign_count=counter,
                require_user_verification=True,
            )
        except _BROKEN as error:
            raise _refused() from error
        return found.new_sign_count


def _described(known: Sequence[bytes]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=each) for each in known]


def _read(text: str) -> str:
    if len(text) > MAX_TEXT or not isinstance(json.loads(text), dict):
        raise ValueError("not a credential")
    return text


def _refused() -> Refusal:
    return Refusal("FactorWrong", "the authenticator's answer does not hold", kind="unauthenticated")
