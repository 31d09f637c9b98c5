"""Secrets of signing in that are made here and kept only as digests: challenges, devices, recovery codes.

ksc_<unique part of the sign-in's id>_<43 letters of base64url, 256 random bits>     challenge
ksd_<43 letters>                                                                      device
abcd-efgh-jkmn-pqrs                                                                   recovery code, 80 random bits
"""

import hashlib
import secrets
from typing import Final

from keystead.core.ids import LABEL, REALM
from keystead.core.secret import Secret

CHALLENGE: Final = "ksc_"
DEVICE: Final = "ksd_"
MAX_SHOWN: Final = 5
"""Devices that one client keeps: as many users sign in from it and are known."""
CODES: Final = 10
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz023456789"  # 32, none of them easily confused
_LENGTH: Final = 16


def new_challenge(sign_in_id: str) -> tuple[str, bytes]:
    """The text for the client, and the digest that is kept."""
    secret = secrets.token_urlsafe(32)
    return f"{CHALLENGE}{sign_in_id.rpartition('.')[2]}_{secret}", digest(secret)


def parse_challenge(text: str, region: str) -> tuple[str, bytes]:
    """The id of the sign-in it is for, and its digest; of a text of another shape, those of nothing."""
    unique, _, secret = text[:256].removeprefix(CHALLENGE).partition("_")
    return f"{LABEL}.signin.{REALM}.{region}.{unique[:64]}", digest(secret)


def provided(challenge: bytes) -> bytes:
    """The digest that is kept of a challenge after a provider's word. It is another one than after a password, so that
    a sign-in whose provider is gone never passes for one that began with a password."""
    return hashlib.sha256(b"provided " + challenge).digest()


def new_device() -> tuple[str, bytes]:
    """What a client keeps to be known again, and its mark."""
    text = DEVICE + secrets.token_urlsafe(32)
    return text, digest(text)


def device_marks(text: str) -> list[bytes]:
    """The marks of what a client shows: one for each user that has signed in there, with a dot between; of the first
    MAX_SHOWN, and of what is ours."""
    return [digest(each[:128]) for each in text[: 128 * MAX_SHOWN].split(".")[:MAX_SHOWN] if each.startswith(DEVICE)]


def new_codes() -> tuple[list[Secret], list[bytes]]:
    """Ten recovery codes, and their digests."""
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(CODES)]
    shown = ["-".join(code[at : at + 4] for at in range(0, _LENGTH, 4)) for code in codes]
    return [Secret(text.encode()) for text in shown], [digest(code) for code in codes]


def code_digest(text: str) -> bytes:
    """Of a recovery code as it was typed: case, spaces and hyphens do not matter."""
    return digest("".join(text[:64].lower().replace("-", "").split()))


def new_number() -> str:
    """Two digits to be typed on another device: 10 to 99."""
    return str(10 + secrets.randbelow(90))


def digest(text: str) -> bytes:
    """SHA-256: enough for what cannot be guessed."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
