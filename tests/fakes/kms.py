"""A KMS in memory: keys of software behind `ExternalKms`, that can be down, refuse, or lose a key."""

import secrets

from keystead.adapters.keystores.external import key_missing, refused
from keystead.adapters.keystores.patience import Failing
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.asymmetric import PrivateKey
from keystead.crypto.suites import ALGORITHMS, suite_of
from keystead.crypto.wrap import AesKwp


class FakeKms:
    """`down`, `denied`: how it answers everything. `asked`: how often it was asked. `gave_up`: how often told so."""

    kind = "fake"
    where = "the fake KMS"
    algorithms = frozenset(ALGORITHMS)

    def __init__(self) -> None:
        self.keys: dict[str, AesKwp | PrivateKey] = {}
        self.down = False
        self.denied = False
        self.asked = 0
        self.gave_up = 0

    def make(self, name: str, algorithm: str) -> bytes:
        self._ask()
        if name in self.keys:
            raise Refusal("NameTaken", "it has that key already", kind="conflict")
        suite = suite_of(algorithm)
        if not suite.asymmetric:
            self.keys[name] = AesKwp(secrets.token_bytes(suite.bits // 8))
            return b""
        key = PrivateKey(suite, asymmetric.generate(suite))
        self.keys[name] = key
        return key.public.spki

    def adopt(self, name: str, algorithm: str, material: Secret) -> None:
        self.keys[name] = PrivateKey(suite_of(algorithm), material)

    def wrap(self, name: str, material: bytes) -> bytes:
        return self._key(name).wrap(material)

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        return self._key(name).unwrap(wrapped)

    def sign(self, name: str, message: bytes, scheme: str, digest: bool) -> bytes:
        key = self._key(name)
        assert isinstance(key, PrivateKey)
        return key.sign(message, scheme, digest=digest)

    def destroy(self, name: str) -> None:
        self._ask()
        self.keys.pop(name, None)

    def check(self) -> None:
        self._ask()

    def give_up(self) -> None:
        self.gave_up += 1

    def _key(self, name: str) -> AesKwp | PrivateKey:
        self._ask()
        if name not in self.keys:
            raise key_missing(self.where, name)
        return self.keys[name]

    def _ask(self) -> None:
        self.asked += 1
        if self.down:
            raise Failing("connection refused", "start it")
        if self.denied:
            raise refused(self.where, "permission denied", "ask its owner")
