"""Shares of a secret: k of n people open it together, k - 1 of them learn nothing.

SLIP-0039 (https://github.com/satoshilabs/slips/blob/master/slip-0039.md) by Trezor's reference implementation, one
group, no passphrase. A share of 32 bytes is 33 English words. They say which set it belongs to (15 bits, random), its
number in the set and how many are needed, and end in a checksum (Reed-Solomon: any three wrong words are noticed). The
set also shares a digest of the secret, so that shares of different sets, or forged ones, are noticed when combined.
Any other program that speaks SLIP-0039 combines them as well.

Honest limit: the library works with tables and Python strings, so neither time nor copies in memory are controlled.
Splitting and combining are done once, on the region's own machine.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shamir_mnemonic import shamir
from shamir_mnemonic.share import Share as Words
from shamir_mnemonic.utils import MnemonicError

from keystead.core.errors import Refusal
from keystead.core.secret import Secret

SECRET_BYTES: Final = 32
MIN_THRESHOLD: Final = 2
MAX_SHARES: Final = 16
WORDS: Final = 33
MAX_SHARE_BYTES: Final = 1024
_GROUP: Final = (0, 1, 1)
_COST: Final = 0  # of SLIP-0039's own passphrase, which is empty: stretching an empty one buys nothing


@dataclass(frozen=True, slots=True)
class Share:
    """What one share says of itself: its set, its number there (from 1), and how many are needed."""

    set: int
    number: int
    threshold: int
    text: Secret = field(repr=False)


def split(secret: Secret, threshold: int, count: int) -> tuple[Share, ...]:
    """`count` shares of a 32-byte secret, any `threshold` of which combine to it.

    Raises:
        Refusal: `InvalidShares`: not 2 <= threshold <= count <= 16.
        ValueError: a secret that has not 32 bytes.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError("a shared secret has 32 bytes")
    check_counts(threshold, count)
    made = shamir.generate_mnemonics(1, [(threshold, count)], secret.reveal(), iteration_exponent=_COST)
    return tuple(read(Secret(words.encode())) for words in made[0])


def check_counts(threshold: int, count: int) -> None:
    """Raises: Refusal `InvalidShares`: not 2 <= threshold <= count <= 16."""
    if not MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise Refusal(
            "InvalidShares",
            f"{threshold} of {count} shares cannot be made",
            hint=f"at least {MIN_THRESHOLD} are needed, at most {MAX_SHARES} are made, e.g. 3 of 5",
        )


def read(text: Secret) -> Share:
    """Read one share, in any case and with any white space between the words.

    Raises:
        Refusal: `WrongShare`: not the words of a share, or its checksum is wrong.
    """
    found: Words | None = None
    if len(text) <= MAX_SHARE_BYTES:
        try:
            words = " ".join(text.reveal().decode("ascii").lower().split())
            found = Words.from_mnemonic(words)
        except (MnemonicError, ValueError):  # raised below, so that no cause hangs on the error
            pass
    if found is None or not _ours(found):
        raise wrong()
    return Share(found.identifier, found.index + 1, found.member_threshold, Secret(words.encode()))


def combine(shares: Sequence[Share]) -> Secret:
    """The secret, from exactly as many shares of one set as are needed.

    Raises:
        Refusal: `WrongShare`: too few, too many, of different sets, or forged: all alike.
    """
    secret = b""
    with contextlib.suppress(MnemonicError, ValueError):  # raised below, so that no cause hangs on the error
        secret = shamir.combine_mnemonics([share.text.reveal().decode() for share in shares])
    if len(secret) != SECRET_BYTES:
        raise wrong()
    return Secret(secret)


def wipe(shares: Iterable[Share]) -> None:
    """Overwrite what is held of shares."""
    for share in shares:
        share.text.wipe()


def wrong() -> Refusal:
    """The one answer to a share that does not belong here, whatever is the matter with it."""
    return Refusal(
        "WrongShare",
        "this is not a share that opens this region: it is misspelt, damaged, or belongs to another set",
        hint="compare every word with the paper; shares of different sets or regions never go together",
    )


def _ours(found: Words) -> bool:
    group = (found.group_index, found.group_threshold, found.group_count)
    return group == _GROUP and len(found.value) == SECRET_BYTES and found.member_threshold >= MIN_THRESHOLD
