"""Unsealing by people: what was given so far, and whether it opens.

Shares come one by one, from different people; each is looked at when it comes, and held in a bytearray that is
overwritten when the set is complete, when somebody begins anew, and when it opens. A complete set that does not open is
forgotten. Everything wrong is refused alike. Tries are limited: ten at once, then one every three seconds.
"""

from dataclasses import dataclass
from typing import Final, Literal, assert_never, get_args

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import shares as splitting
from keystead.crypto.shares import Share
from keystead.seal import service
from keystead.seal.model import Quorum, SealFile
from keystead.seal.openers import Identity, KeyFile, Opener, Passphrase, Shares
from keystead.seal.service import RootKey

Given = Literal["share", "passphrase", "key-file", "identity"]
GIVEN: frozenset[str] = frozenset(get_args(Given))
TRIES: Final = 10.0
SECONDS_PER_TRY: Final = 3.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Shares of one set: how many are needed, and the numbers of those that were given."""

    set: int
    threshold: int
    given: tuple[int, ...]


class Attempt:
    """What people have given of shares. One for each sealed region; not thread-safe."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, Share]] = {}
        self._tries = TRIES
        self._seen: float | None = None

    def progress(self, seal: SealFile) -> tuple[Progress, ...]:
        """How far each set of the seal has come."""
        return tuple(
            Progress(found.set, found.threshold, tuple(sorted(self._held.get(found.set, {}))))
            for found in _quorums(seal)
        )

    def give(self, seal: SealFile, kind: Given, secret: Secret, monotonic: float) -> RootKey | None:
        """Try what somebody gives; None when more shares are needed. Passphrases block for as long as they cost.

        Raises:
            Refusal: `TooManyTries`; `WrongShare`, `WrongRootKey`: it does not open, whatever the cause.
        """
        self._spend(monotonic)
        opener = self._opener(seal, kind, secret)
        if opener is None:
            return None
        try:
            return service.open(seal, opener)
        except Unreadable:
            raise splitting.wrong() if kind == "share" else _wrong(kind) from None

    def reset(self) -> None:
        """Forget every share."""
        for held in self._held.values():
            splitting.wipe(held.values())
        self._held.clear()

    def _opener(self, seal: SealFile, kind: Given, secret: Secret) -> Opener | None:
        try:
            match kind:
                case "share":
                    return self._share(seal, secret)
                case "passphrase":
                    return Passphrase(secret.reveal().decode(errors="replace"))
                case "key-file":
                    return KeyFile(secret.reveal())
                case "identity":
                    return Identity(secret.reveal())
                case _:
                    assert_never(kind)
        finally:
            secret.wipe()

    def _share(self, seal: SealFile, secret: Secret) -> Shares | None:
        share = splitting.read(secret)
        quorum = next((found for found in _quorums(seal) if found.set == share.set), None)
        if quorum is None or share.threshold != quorum.threshold or share.number > quorum.count:
            splitting.wipe([share])
            raise splitting.wrong()
        held = self._held.setdefault(quorum.set, {})
        if (other := held.get(share.number)) is not None:
            same = other.text == share.text
            splitting.wipe([share])
            if not same:
                raise splitting.wrong()
            return None
        held[share.number] = share
        if len(held) < quorum.threshold:
            return None
        try:
            return Shares(list(held.values()))
        finally:
            splitting.wipe(held.values())
            del self._held[quorum.set]

    def _spend(self, monotonic: float) -> None:
        if self._seen is not None:
            self._tries = min(TRIES, self._tries + (monotonic - self._seen) / SECONDS_PER_TRY)
        self._seen = monotonic
        if self._tries < 1:
            raise Refusal(
                "TooManyTries",
                "too much was tried in a short time",
                hint=f"one try every {SECONDS_PER_TRY:.0f} s; what was given before is kept",
                kind="too_many",
                retry_s=(1 - self._tries) * SECONDS_PER_TRY,
            )
        self._tries -= 1


def _quorums(seal: SealFile) -> list[Quorum]:
    return [slot.means for slot in seal.slots if isinstance(slot.means, Quorum)]


def _wrong(kind: Given) -> Refusal:
    return Refusal(
        "WrongRootKey",
        f"this {kind.replace('-', ' ')} does not open this region",
        hint="it is another region's, or its slot was taken away",
    )
