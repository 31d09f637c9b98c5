"""Second factors in tests: real codes, and authenticators that sign with nothing."""

import base64
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from keystead.adapters.sql.store import SqlStore
from keystead.adapters.totp import PyTotp
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto.envelope import Kek
from keystead.iam.factors.model import Seen
from keystead.iam.factors.ports import Proofs, Registered
from keystead.iam.model import User


class PlainAuthenticators:
    """Whoever knows the public key and the challenge has the authenticator; the counter must go up."""

    def registration(self, challenge: bytes, user: str, account: str, known: Sequence[bytes]) -> str:
        return json.dumps({"challenge": challenge.hex(), "known": [each.hex() for each in known]})

    def registered(self, credential: str, challenge: bytes) -> Registered:
        found = json.loads(credential)
        if found["challenge"] != challenge.hex():
            raise Refusal("FactorWrong", "not this challenge")
        return Registered(bytes.fromhex(found["id"]), bytes.fromhex(found["key"]), 0)

    def assertion(self, challenge: bytes, known: Sequence[bytes]) -> str:
        return json.dumps({"challenge": challenge.hex(), "known": [each.hex() for each in known]})

    def credential_of(self, assertion: str) -> bytes:
        try:
            return bytes.fromhex(json.loads(assertion)["id"])
        except (ValueError, KeyError, TypeError):
            return b""

    def asserted(self, assertion: str, challenge: bytes, public_key: bytes, counter: int) -> int:
        found = json.loads(assertion)
        if found["challenge"] != challenge.hex() or found["key"] != public_key.hex() or found["counter"] <= counter:
            raise Refusal("FactorWrong", "it does not hold")
        return int(found["counter"])


class Stick:
    """An authenticator of a person's."""

    def __init__(self) -> None:
        self.id, self.key, self.counter = secrets.token_hex(16), secrets.token_hex(16), 0

    def answer(self, options: str) -> Secret:
        self.counter += 1
        challenge = json.loads(options)["challenge"]
        told = {"id": self.id, "key": self.key, "challenge": challenge, "counter": self.counter}
        return Secret(json.dumps(told).encode())


def known_device(store: SqlStore, user: User, now: datetime) -> str:
    """A device that the user has signed in from; its id."""
    mark = secrets.token_bytes(32)
    with store.note() as tx:
        tx.factors.see(Seen(user.tenancy, user.id, "device", mark, now, now), 20)
    return f"ks1.device.main.home.{base64.b32encode(mark[:20]).decode().lower()}"


def proofs() -> Proofs:
    """The ports of second factors, the same in every process of a test."""
    return Proofs(PyTotp(), PlainAuthenticators(), Kek(bytes(32), "sign-in", 1), Secret(bytes(32)))


def code_at(uri: Secret, moment: float) -> Secret:
    """What an app that has read the URI shows then."""
    from pyotp import TOTP

    secret = parse_qs(urlsplit(uri.reveal().decode()).query)["secret"][0]
    return Secret(TOTP(secret).generate_otp(int(moment) // 30).encode())
