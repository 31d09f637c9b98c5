"""The catalogue of algorithms: every kind of key, what it can do, and under which number it is stored.

Promise: a stored key names its algorithm by a number that stands for one specification in one edition, for ever. When
a standard changes (ML-DSA and the hybrid KEM are young), the name gets a new number for new keys, and keys made under
the old one go on being read by it; `CURRENT` says which number a new key of a name gets.

    1  AES-128          16  RSA-2048         32  EC-P256          48  ML-DSA-65             FIPS 204, from a seed
    2  AES-192          17  RSA-3072         33  EC-P384          64  HPKE-X25519-MLKEM768  X-Wing keys, HPKE
    3  AES-256          18  RSA-4096         34  EC-P521
                                             35  ED25519

A signature scheme is named by method and hash: `RSA-PSS-SHA256`, `ECDSA-SHA384`, `ED25519`. The first of an algorithm's
schemes is the one taken when none is named.

Sources: FIPS 197 (AES), RFC 8017 (RSA), FIPS 186-5 (ECDSA), RFC 8032 (Ed25519), FIPS 204 (ML-DSA), RFC 9180 (HPKE) with
draft-ietf-hpke-pq (KEM 0x647a) and draft-connolly-cfrg-xwing-kem (its key).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from keystead.core.errors import Refusal

Algorithm = Literal[
    "AES-128",
    "AES-192",
    "AES-256",
    "RSA-2048",
    "RSA-3072",
    "RSA-4096",
    "EC-P256",
    "EC-P384",
    "EC-P521",
    "ED25519",
    "ML-DSA-65",
    "HPKE-X25519-MLKEM768",
]
Operation = Literal["encrypt", "decrypt", "wrap", "unwrap", "sign", "verify"]
Scheme = Literal[
    "RSA-PSS-SHA256",
    "RSA-PSS-SHA384",
    "RSA-PSS-SHA512",
    "RSA-PKCS1-SHA256",
    "RSA-PKCS1-SHA384",
    "RSA-PKCS1-SHA512",
    "ECDSA-SHA256",
    "ECDSA-SHA384",
    "ECDSA-SHA512",
    "ED25519",
    "ML-DSA-65",
]
Family = Literal["aes", "rsa", "ec", "ed25519", "ml-dsa", "hpke"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_SEALS: tuple[Operation, ...] = ("encrypt", "decrypt", "wrap", "unwrap")
_SIGNS: tuple[Operation, ...] = ("sign", "verify")
_RSA = cast(tuple[Scheme, ...], tuple(name for name in SCHEMES if name.startswith("RSA-")))


@dataclass(frozen=True, slots=True)
class Suite:
    """One algorithm in one edition.

    number: what stored keys name it by. family: which code serves it. bits: of the key, or of its curve or modulus.
    operations: what keys of it can do. schemes: how it signs, the usual one first. envelope: the suite of the envelopes
    it makes (docs/formats/envelope.md), 0 when it makes none. slow: one use keeps an event loop too long, and must
    not run there (RSA-2048 takes a millisecond: a thread of its own would cost as much again).
    provisional: the specification is young, so the number may be superseded.
    """

    name: Algorithm
    number: int
    family: Family
    bits: int
    operations: tuple[Operation, ...]
    schemes: tuple[Scheme, ...] = ()
    envelope: int = 0
    slow: bool = False
    provisional: bool = False

    @property
    def asymmetric(self) -> bool:
        """Whether there is a public half."""
        return self.family != "aes"

    def scheme(self, wanted: str) -> Scheme:
        """The scheme to sign or verify with; the usual one when `wanted` is empty.

        Raises:
            Refusal: `WrongOperation` (keys of this kind do not sign), `InvalidParameter` (not by this scheme).
        """
        if not self.schemes:
            raise wrong_operation(self.name, "sign")
        if not wanted:
            return self.schemes[0]
        for known in self.schemes:
            if known == wanted:
                return known
        raise Refusal(
            "InvalidParameter",
            f"a key of {self.name} does not sign by {wanted!r}",
            hint=f"it signs by: {', '.join(self.schemes)}",
        )


def _ecdsa(first: Scheme) -> tuple[Scheme, ...]:
    every: tuple[Scheme, ...] = ("ECDSA-SHA256", "ECDSA-SHA384", "ECDSA-SHA512")
    return (first, *(name for name in every if name != first))


_SUITES = (
    Suite("AES-128", 1, "aes", 128, _SEALS, envelope=2),
    Suite("AES-192", 2, "aes", 192, _SEALS, envelope=3),
    Suite("AES-256", 3, "aes", 256, _SEALS, envelope=1),
    Suite("RSA-2048", 16, "rsa", 2048, OPERATIONS, _RSA, envelope=16),
    Suite("RSA-3072", 17, "rsa", 3072, OPERATIONS, _RSA, envelope=16, slow=True),
    Suite("RSA-4096", 18, "rsa", 4096, OPERATIONS, _RSA, envelope=16, slow=True),
    Suite("EC-P256", 32, "ec", 256, _SIGNS, _ecdsa("ECDSA-SHA256")),
    Suite("EC-P384", 33, "ec", 384, _SIGNS, _ecdsa("ECDSA-SHA384"), slow=True),
    Suite("EC-P521", 34, "ec", 521, _SIGNS, _ecdsa("ECDSA-SHA512"), slow=True),
    Suite("ED25519", 35, "ed25519", 256, _SIGNS, ("ED25519",)),
    Suite("ML-DSA-65", 48, "ml-dsa", 192, _SIGNS, ("ML-DSA-65",), slow=True, provisional=True),
    Suite("HPKE-X25519-MLKEM768", 64, "hpke", 192, _SEALS, envelope=17, provisional=True),
)
BY_NUMBER: Mapping[int, Suite] = {suite.number: suite for suite in _SUITES}
# The edition that new keys get. A superseded one stays in BY_NUMBER.
CURRENT: Mapping[Algorithm, Suite] = {suite.name: suite for suite in _SUITES}


def suite_of(name: str) -> Suite:
    """The suite that a new key of the algorithm `name` gets.

    Raises:
        Refusal: `InvalidParameter`, no such algorithm.
    """
    found = CURRENT.get(cast(Algorithm, name))
    if found is None:
        raise Refusal("InvalidParameter", f"there is no algorithm {name!r}", hint=f"there are: {', '.join(ALGORITHMS)}")
    return found


def wrong_operation(algorithm: str, operation: str) -> Refusal:
    """A key of this algorithm cannot do that."""
    able = CURRENT[cast(Algorithm, algorithm)].operations if algorithm in CURRENT else ()
    return Refusal(
        "WrongOperation",
        f"a key of {algorithm} cannot {operation}",
        hint=f"it can: {', '.join(able)}" if able else "",
        kind="conflict",
    )
