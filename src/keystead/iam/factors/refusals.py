"""What signing in says when it does not go on. None of it tells more than whoever asks has shown to know."""

from datetime import timedelta

from keystead.core.errors import Refusal
from keystead.iam.factors.click import FATIGUE


def no_such_sign_in() -> Refusal:
    """Of a sign-in by way of a provider; alike for every cause."""
    return Refusal(
        "NotAuthenticated",
        "the sign-in is not known, took too long, or is not yours",
        hint="begin again: keystead login --provider",
        kind="unauthenticated",
    )


def invalid_challenge() -> Refusal:
    """Alike for every cause."""
    return Refusal(
        "ChallengeInvalid",
        "the challenge is unknown, used, expired or void",
        hint="begin again with the password: keystead login",
        kind="unauthenticated",
    )


def not_offered(factor: str, offered: tuple[str, ...]) -> Refusal:
    """Not one of those that this sign-in asks for."""
    return Refusal(
        "FactorNotOffered",
        f"this sign-in cannot go on with {factor!r}",
        hint=f"with one of: {', '.join(offered)}",
        kind="unauthenticated",
    )


def wrong_factor(left: int) -> Refusal:
    """`left`: how many tries there still are."""
    return Refusal(
        "FactorWrong",
        "the code or proof is wrong, or was used before",
        hint="wait for the next code" if left > 0 else "begin again with the password: keystead login",
        kind="unauthenticated",
    )


def denied_elsewhere(by_person: bool) -> Refusal:
    """On the other device: by somebody, or by silence."""
    return Refusal(
        "FactorDenied",
        "the request was denied on the other device" if by_person else "nobody answered within 60 s",
        hint="begin again with the password: keystead login",
        kind="unauthenticated",
    )


def asked_enough(left: timedelta) -> Refusal:
    """More would tire whoever is asked. `left`: until another device may be asked again."""
    return Refusal(
        "TooManyRequests",
        f"at most {FATIGUE[0]} sign-ins an hour are asked about on other devices, each once",
        hint="use another factor",
        kind="too_many",
        retry_s=left.total_seconds(),
    )
