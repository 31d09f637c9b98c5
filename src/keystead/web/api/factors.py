"""Signing in with second factors over REST: the steps, enrolment, and requests on other devices. See iam/factors."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from keystead.core.secret import Secret
from keystead.iam.factors.model import Factor, SignInSettings
from keystead.web.api.iam import Device, TokenReply, shown_token
from keystead.web.messages import Message, Name
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Challenge = Annotated[str, Meta(max_length=256, description="From the answer FactorRequired; a secret.")]
FactorName = Literal["totp", "webauthn", "click", "recovery"]
Credential = Annotated[str, Meta(max_length=15000, description="What the browser's authenticator answered, as JSON.")]
Id = Annotated[str, Meta(max_length=128)]


class BeginFactor(Message):
    """Which factor will be shown."""

    challenge: Challenge
    factor: Literal["webauthn", "click"]


class BeginFactorReply(Message):
    """What is needed for it: a number to be typed on the other device, or WebAuthn's options as JSON."""

    number: str
    options: str


class ProveFactor(Message):
    """A second factor: a code (totp, recovery), an assertion (webauthn), or neither (click)."""

    challenge: Challenge
    factor: FactorName
    code: Annotated[str, Meta(max_length=64, description="Six digits, or a recovery code.")] = ""
    assertion: Credential = ""
    device: Device | None = None


class EnrolFactor(Message):
    """A new factor."""

    name: Name


class FactorReply(Message):
    """A second factor of a user's. PENDING: not used yet, so not asked for."""

    id: str
    kind: Literal["totp", "webauthn"]
    name: str
    state: Literal["PENDING", "ACTIVE"]
    created_at: datetime
    last_used_at: datetime | None


class NewTotpReply(FactorReply):
    """A new code generator."""

    uri: Annotated[str, Meta(description="otpauth://..., for an app; shown once, null in a replay.")] | None
    already_shown: bool = False


class NewWebAuthnReply(FactorReply):
    """A new authenticator."""

    options: Annotated[str, Meta(description="For navigator.credentials.create, as JSON.")]


class ConfirmFactor(Message):
    """The new factor, used once."""

    factor_id: Id
    code: Annotated[str, Meta(max_length=64, description="Of a code generator.")] = ""
    credential: Credential = ""


class FactorList(Message):
    """A user's factors."""

    items: list[FactorReply]


class RecoveryCodesReply(Message):
    """Ten codes, each good once."""

    codes: list[str] | None
    already_shown: bool = False


class WaitingSignIn(Message):
    """A sign-in that waits for an answer on another device."""

    id: str
    source: Annotated[str, Meta(description="From where.")]
    asked_at: datetime
    until: datetime


class WaitingSignIns(Message):
    """Those of the caller."""

    items: list[WaitingSignIn]


class DeviceReply(Message):
    """A device that a user has signed in from."""

    id: Annotated[str, Meta(description="Not what the device shows.")]
    first_at: datetime
    last_at: datetime


class DeviceList(Message):
    """Those of a user, the one used last first."""

    items: list[DeviceReply]


class AnswerSignIn(Message):
    """Yes, by the number that is shown there; anything else is a no."""

    sign_in_id: Id
    number: Annotated[str, Meta(max_length=16)] = ""


class AnswerReply(Message):
    """What became of it."""

    approved: bool


class SignInSettingsMessage(Message):
    """From which level of risk on a second factor is asked of those who have one, and from which nobody is let in."""

    factor_from: Literal["low", "medium", "high", "never"]
    refuse_from: Literal["medium", "high", "never"]


def shown_factor(found: Factor) -> FactorReply:
    return FactorReply(**_fields(found))


def _fields(found: Factor) -> dict[str, Any]:
    names = ("id", "kind", "name", "state", "created_at", "last_used_at")
    return {name: getattr(found, name) for name in names}


def begin_factor(services: Services, call: Call[BeginFactor, NoBody]) -> BeginFactorReply:
    body = call.body
    begun = services.iam.begin_factor(body.challenge, body.factor, call.source, call.request_id)
    return BeginFactorReply(number=begun.number, options=begun.options)


def prove_factor(services: Services, call: Call[ProveFactor, NoBody]) -> TokenReply:
    body = call.body
    proof = Secret((body.assertion if body.factor == "webauthn" else body.code).encode())
    return shown_token(
        services.iam.prove_factor(body.challenge, body.factor, proof, call.source, call.request_id, body.device)
    )


def enrol_totp(services: Services, call: Call[EnrolFactor, NoBody]) -> NewTotpReply:
    made, uri = services.iam.enrol_totp(call.caller, call.body.name)
    return NewTotpReply(**_fields(made), uri=uri.reveal().decode())


def enrol_webauthn(services: Services, call: Call[EnrolFactor, NoBody]) -> NewWebAuthnReply:
    made, options = services.iam.enrol_webauthn(call.caller, call.body.name)
    return NewWebAuthnReply(**_fields(made), options=options)


def confirm_factor(services: Services, call: Call[ConfirmFactor, NoBody]) -> FactorReply:
    body = call.body
    return shown_factor(
        services.iam.confirm_factor(call.caller, body.factor_id, Secret((body.credential or body.code).encode()))
    )


def create_recovery_codes(services: Services, call: Call[NoBody, NoBody]) -> RecoveryCodesReply:
    return RecoveryCodesReply(
        codes=[code.reveal().decode() for code in services.iam.create_recovery_codes(call.caller)]
    )


def list_factors(services: Services, call: Call[NoBody, NoBody]) -> FactorList:
    found = services.iam.list_factors(call.caller, call.path["user_id"])
    return FactorList(items=[shown_factor(each) for each in found])


def remove_factor(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.remove_factor(call.caller, call.path["user_id"], call.path["factor_id"])


def list_sign_ins(services: Services, call: Call[NoBody, NoBody]) -> WaitingSignIns:
    found = services.iam.list_sign_ins(call.caller)
    return WaitingSignIns(
        items=[
            WaitingSignIn(id=each.id, source=each.source, asked_at=each.asked_at, until=each.until) for each in found
        ]
    )


def answer_sign_in(services: Services, call: Call[AnswerSignIn, NoBody]) -> AnswerReply:
    return AnswerReply(approved=services.iam.answer_sign_in(call.caller, call.body.sign_in_id, call.body.number))


def list_devices(services: Services, call: Call[NoBody, NoBody]) -> DeviceList:
    found = services.iam.list_devices(call.caller, call.path["user_id"])
    return DeviceList(items=[DeviceReply(id=each.id, first_at=each.first_at, last_at=each.last_at) for each in found])


def forget_device(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.forget_device(call.caller, call.path["user_id"], call.path["device_id"])


def get_settings(services: Services, call: Call[NoBody, NoBody]) -> SignInSettingsMessage:
    return _settings(services.iam.get_sign_in_settings(call.caller))


def update_settings(services: Services, call: Call[SignInSettingsMessage, NoBody]) -> SignInSettingsMessage:
    wanted = SignInSettings(call.body.factor_from, call.body.refuse_from)
    return _settings(services.iam.update_sign_in_settings(call.caller, wanted))


def _settings(found: SignInSettings) -> SignInSettingsMessage:
    refuse_from = "medium" if found.refuse_from == "low" else found.refuse_from  # "low" is never stored
    return SignInSettingsMessage(factor_from=found.factor_from, refuse_from=refuse_from)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "BeginFactor", "POST", "/auth/factors/actions/begin", "Prepare an authenticator, or ask on another device",
        begin_factor, "auth", request=BeginFactor, reply=BeginFactorReply, auth=False,
    ),
    Operation(
        "ProveFactor", "POST", "/auth/factors", "Exchange a challenge and a second factor for a security token",
        prove_factor, "auth", request=ProveFactor, reply=TokenReply, status=201, auth=False,
    ),
    Operation(
        "EnrolTotp", "POST", "/auth/totp", "Enrol a code generator of one's own; its URI is shown once", enrol_totp,
        "auth", request=EnrolFactor, reply=NewTotpReply, status=201, creates=True, secrets=("uri",),
    ),
    Operation(
        "EnrolWebAuthn", "POST", "/auth/webauthn", "Enrol an authenticator of one's own", enrol_webauthn, "auth",
        request=EnrolFactor, reply=NewWebAuthnReply, status=201,
    ),
    Operation(
        "ConfirmFactor", "POST", "/auth/factors/actions/confirm", "Use a new factor once; then it counts",
        confirm_factor, "auth", request=ConfirmFactor, reply=FactorReply,
    ),
    Operation(
        "CreateRecoveryCodes", "POST", "/auth/recovery-codes", "Make ten recovery codes, shown once; void the old ones",
        create_recovery_codes, "auth", reply=RecoveryCodesReply, status=201, creates=True, secrets=("codes",),
    ),
    Operation(
        "ListSignIns", "GET", "/auth/sign-ins", "List one's own sign-ins that wait for an answer", list_sign_ins,
        "auth", reply=WaitingSignIns,
    ),
    Operation(
        "AnswerSignIn", "POST", "/auth/sign-ins/actions/answer", "Let a sign-in of one's own in, or deny it",
        answer_sign_in, "auth", request=AnswerSignIn, reply=AnswerReply,
    ),
    Operation(
        "ListFactors", "GET", "/users/{user_id}/factors", "List a user's second factors", list_factors, "users",
        reply=FactorList, permissions=("USER_READ",),
    ),
    Operation(
        "RemoveFactor", "DELETE", "/users/{user_id}/factors/{factor_id}", "Remove a second factor", remove_factor,
        "users", status=204, permissions=("USER_TOTPDEVICE_REMOVE",),
    ),
    Operation(
        "ListDevices", "GET", "/users/{user_id}/devices", "List the devices that a user has signed in from",
        list_devices, "users", reply=DeviceList, permissions=("USER_READ",),
    ),
    Operation(
        "ForgetDevice", "DELETE", "/users/{user_id}/devices/{device_id}", "Know a device no more", forget_device,
        "users", status=204, permissions=("USER_UPDATE",),
    ),
    Operation(
        "GetSignInSettings", "GET", "/sign-in-settings", "Show what risk asks for", get_settings, "auth",
        reply=SignInSettingsMessage, permissions=("TENANCY_INSPECT",),
    ),
    Operation(
        "UpdateSignInSettings", "PUT", "/sign-in-settings", "Set what risk asks for", update_settings, "auth",
        request=SignInSettingsMessage, reply=SignInSettingsMessage, permissions=("TENANCY_UPDATE",),
    ),
)  # fmt: skip
