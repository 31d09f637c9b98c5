"""Keys in another KMS (protection `external`), and one of them as an unseal slot.

Promise: the key stays in that KMS; the rows hold its name there. What the KMS refuses, or does not answer, is said as
that: never as a ciphertext that would not open. Whoever owns the KMS can take the key away from us there.

    reference = "KSX" | format 1 | kind of KMS, ASCII | 0 | name of the key in it, UTF-8
    name      = "keystead-<key id>-<version>-<16 random hex digits>"      looked at when it is used, so that a row that
                                                                          was edited to name another key opens nothing

Any KMS that can encrypt 32 bytes fits behind `ExternalKms`; turns, time limits and breaker are here, once.
"""

import secrets
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from keystead.adapters.keystores.material import RemoteMaterial, cannot_hold
from keystead.adapters.keystores.patience import Limits, Patience
from keystead.adapters.keystores.watch import Watch
from keystead.core.errors import KeystoreUnavailable, Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.encapsulate import SUITE_EXTERNAL
from keystead.crypto.suites import Scheme, Suite, suite_of
from keystead.vault.model import Protection
from keystead.vault.ports import KeySpec, Material, Stored

MAGIC: Final = b"KSX\x01"
KEY_BYTES: Final = 32
Result = TypeVar("Result")


class ExternalKms(Protocol):
    """Another KMS, by one call each. Thread-safe, blocking, without patience: that is put around it.

    Every call raises: Failing (no answer, or one that says it cannot now), Full (it takes no more now), Unavailable
    (`refused`, `key_missing`: it answers and will not).
    """

    @property
    def kind(self) -> str: ...
    @property
    def where(self) -> str:
        """How errors name it, e.g. "OpenBao at https://kms.example:8200"."""
        ...

    @property
    def algorithms(self) -> frozenset[str]: ...

    def make(self, name: str, algorithm: str) -> bytes:
        """Make a key that cannot be exported; its public half, SPKI DER, or empty. Raises: Refusal `NameTaken`."""
        ...

    def wrap(self, name: str, material: bytes) -> bytes:
        """Encrypt 32 bytes."""
        ...

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """What `wrap` was given. Raises: Unreadable, and only when the key itself says so."""
        ...

    def sign(self, name: str, message: bytes, scheme: Scheme, digest: bool) -> bytes:
        """As the standards write signatures (ECDSA: DER)."""
        ...

    def destroy(self, name: str) -> None:
        """Done twice, it is done once."""
        ...

    def check(self) -> None:
        """Whether it answers and takes what we show it. Changes nothing."""
        ...

    def give_up(self) -> None:
        """End the calls that hang."""
        ...


class PatientKms:
    """A KMS behind turns, time limits and a breaker."""

    def __init__(self, kms: ExternalKms, limits: Limits | None = None) -> None:
        self.kms = kms
        self.patience = Patience(kms.where, limits)

    def run(self, work: Callable[[ExternalKms], Result]) -> Result:
        """Raises: Unavailable `KeystoreBusy`, `KeystoreDown`; what `work` raises else."""
        return self.patience.run(lambda: work(self.kms), self.kms.give_up)


class ExternalKeystore:
    """A `Keystore` in another KMS."""

    protection: Protection = "external"
    blocks = True

    def __init__(self, kms: PatientKms) -> None:
        self._kms = kms
        self._watch = Watch()
        self.algorithms = kms.kms.algorithms

    def generate(self, spec: KeySpec) -> Stored:
        """Make a key there. Raises: Refusal (it has no such keys), Unavailable."""
        suite = self._suite(spec)
        name = _prefix(spec) + secrets.token_hex(8)
        public = self._kms.run(lambda kms: kms.make(name, suite.name))
        if suite.asymmetric:
            PublicKey(suite, public)
        reference = MAGIC + self._kms.kms.kind.encode() + b"\0" + name.encode()
        return Stored(reference, public)

    def add(self, spec: KeySpec, material: Secret) -> Stored:
        """Not here: what is to be in the other KMS is imported there. Raises: Refusal."""
        raise Refusal(
            "WrongProtection",
            "key material is not imported into an external keystore",
            hint="import it as software or hsm, or make the key in the other KMS",
            kind="conflict",
        )

    def use(self, spec: KeySpec, stored: Stored) -> Material:
        """The version ready for use; nobody is asked yet. Raises: Unreadable."""
        suite = self._suite(spec)
        key = _RemoteKey(self._kms, self._name(spec, stored))
        return RemoteMaterial(suite, spec, SUITE_EXTERNAL, key, key, stored.public)

    def known(self, spec: KeySpec, stored: Stored) -> KeystoreUnavailable | None:
        """What stood against using it when it was last looked at."""
        if "wrap" not in self._suite(spec).operations:
            return None
        name = self._name(spec, stored)
        return self._watch.known(stored.reference, lambda: _RemoteKey(self._kms, name))

    def destroy(self, spec: KeySpec, stored: Stored) -> None:
        """Delete the key there. Raises: Unavailable, Unreadable."""
        name = self._name(spec, stored)
        self._kms.run(lambda kms: kms.destroy(name))

    def _suite(self, spec: KeySpec) -> Suite:
        if spec.algorithm not in self.algorithms:
            raise cannot_hold(self._kms.kms.where, spec.algorithm, self.algorithms)
        return suite_of(spec.algorithm)

    def _name(self, spec: KeySpec, stored: Stored) -> str:
        kind, found, name = stored.reference.removeprefix(MAGIC).partition(b"\0")
        if stored.reference.startswith(MAGIC) and found and kind == self._kms.kms.kind.encode():
            text = name.decode(errors="replace")
            if text.startswith(_prefix(spec)):
                return text
        raise Unreadable


class RemoteWrapper:
    """Wraps 32 bytes with a key of another KMS: what a seal slot needs, without any vault. See `openbao.wrapper`."""

    def __init__(self, kms: PatientKms, name: str) -> None:
        self._kms = kms
        self._name = name

    def wrap(self, key: bytes) -> bytes:
        """`key`, 32 bytes, wrapped. Raises: Unavailable."""
        return self._kms.run(lambda kms: kms.wrap(self._name, key))

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. Raises: Unreadable for every cause alike; Unavailable."""
        found = self._kms.run(lambda kms: kms.unwrap(self._name, wrapped))
        if len(found) != KEY_BYTES:
            raise Unreadable
        return found

    def make_key(self) -> None:
        """Make the key there. Raises: Refusal `NameTaken`; Unavailable."""
        self._kms.run(lambda kms: kms.make(self._name, "AES-256"))


class _RemoteKey(RemoteWrapper):
    """One version in another KMS: wraps, unwraps, signs."""

    def sign(self, message: bytes, scheme: Scheme, digest: bool) -> bytes:
        return self._kms.run(lambda kms: kms.sign(self._name, message, scheme, digest))


def refused(where: str, why: str, hint: str) -> KeystoreUnavailable:
    """It answers, and will not."""
    return KeystoreUnavailable("KeystoreRefused", f"{where} refuses: {why}", hint=hint)


def key_missing(where: str, name: str) -> KeystoreUnavailable:
    """It answers, and has no such key."""
    return KeystoreUnavailable(
        "KeyNotInKeystore",
        f"{where} has no key {name!r}",
        hint="was it deleted there? nothing can be opened by this key without it",
    )


def _prefix(spec: KeySpec) -> str:
    return f"keystead-{spec.key}-{spec.number}-"
