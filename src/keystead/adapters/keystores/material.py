"""What the keystores of tokens and of other KMS have in common: a version whose private half is elsewhere.

Sealing and opening is encapsulation (crypto/encapsulate): the keystore wraps a fresh 32-byte message key and sees
nothing else. Verifying is done here, with the public half.
"""

from typing import Protocol

from keystead.core.errors import Refusal
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.encapsulate import Encapsulated, KeyWrapping
from keystead.crypto.envelope import Binding
from keystead.crypto.suites import Scheme, Suite, wrong_operation
from keystead.vault.ports import KeySpec


class Signing(Protocol):
    """Signs somewhere else."""

    def sign(self, message: bytes, scheme: Scheme, digest: bool) -> bytes:
        """Raises: Refusal, Unavailable."""
        ...


class RemoteMaterial:
    """A `Material` by somebody's wrapping and signing."""

    __slots__ = ("_envelopes", "_public", "_signing", "_suite")

    def __init__(
        self, suite: Suite, spec: KeySpec, envelope: int, wrapping: KeyWrapping, signing: Signing, public: bytes
    ) -> None:
        """`envelope`: the suite of its envelopes. `public`: SPKI DER, or empty. Raises: Refusal, `InvalidKey`."""
        self._suite = suite
        self._signing = signing
        self._public = PublicKey(suite, public) if suite.asymmetric else None
        wraps = "wrap" in suite.operations
        self._envelopes = Encapsulated(wrapping, envelope, spec.key, spec.number) if wraps else None

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """An envelope. Raises: Refusal, `WrongOperation`; Unavailable."""
        if self._envelopes is None:
            raise wrong_operation(self._suite.name, "wrap")
        return self._envelopes.seal(plaintext, binding)

    def sealed(self, blob: bytes) -> bool:
        """Whether `blob` says that this version made it."""
        return self._envelopes is not None and self._envelopes.sealed(blob)

    def open(self, blob: bytes, binding: Binding) -> bytes:
        """What `seal` was given. Raises: Unreadable; Refusal, `WrongOperation`; Unavailable."""
        if self._envelopes is None:
            raise wrong_operation(self._suite.name, "unwrap")
        return self._envelopes.open(blob, binding)

    def sign(self, message: bytes, scheme: str = "", *, digest: bool = False) -> bytes:
        """By one of the algorithm's schemes, or its usual one. Raises: Refusal, Unavailable."""
        return self._signing.sign(message, self._suite.scheme(scheme), digest)

    def verify(self, message: bytes, signature: bytes, scheme: str = "", *, digest: bool = False) -> bool:
        """Whether it is this version's signature. Asks nobody. Raises: Refusal, `WrongOperation`."""
        if self._public is None:
            raise wrong_operation(self._suite.name, "verify")
        return self._public.verify(message, signature, scheme, digest=digest)


def cannot_hold(what: str, algorithm: str, able: frozenset[str]) -> Refusal:
    """This keystore has no keys of that algorithm."""
    return Refusal(
        "WrongAlgorithm", f"{what} does not hold keys of {algorithm}", hint=f"it holds: {', '.join(sorted(able))}"
    )
