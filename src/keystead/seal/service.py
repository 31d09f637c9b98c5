"""Create, open and change a seal. Pure: the caller reads and writes the file.

Promise: any one opener whose slot is in the seal opens the root key; a seal that was changed in any place without the
root key does not open (`Unreadable`), whichever slot is used.

Invariants: a seal always has at least one slot. Removing a slot does not call back copies of the older file: who kept
one and holds the removed opener still opens the same root key; only a new root key ends that.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn

from keystead.core import canonical
from keystead.core.clock import isoformat
from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import kdf
from keystead.crypto.envelope import Binding, Kek
from keystead.seal.model import MAX_SLOTS, MEANS, PURPOSES, Purpose, SealFile, Slot, means_fields
from keystead.seal.openers import Maker, Opener

_MAC_PURPOSE: Final = "seal-mac"
_KEY_ID: Final = "seal-slot"


class RootKey:
    """A region's root key, open. Everything else hangs on its subkeys; it is never used itself."""

    __slots__ = ("_key", "region")

    def __init__(self, key: bytes, region: str) -> None:
        if len(key) != kdf.KEY_BYTES:
            raise ValueError("a root key has 32 bytes")
        self._key = Secret(key)
        self.region = region

    def subkey(self, purpose: Purpose) -> Secret:
        """32 bytes for `purpose`, bound to the region.

        Raises:
            ValueError: an unknown purpose.
            Unavailable: `Sealed` after `wipe`.
        """
        if purpose not in PURPOSES:
            raise ValueError("unknown purpose")
        return Secret(kdf.subkey(self._reveal(), f"root/{purpose}", self.region.encode()))

    def reveal_whole(self) -> bytes:
        """The key itself, for the pipe between a child that opened it and its parent. Every call is one to look at."""
        return self._reveal()

    def wipe(self) -> None:
        """Forget it: the region is sealed until opened again."""
        self._key.wipe()

    def _reveal(self) -> bytes:
        if not len(self._key):
            raise Unavailable("Sealed", "the region is sealed", hint="unseal it first")
        return self._key.reveal()

    def __repr__(self) -> str:
        return f"RootKey(region={self.region!r})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a root key is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


def create(region: str, makers: Sequence[Maker], now: datetime) -> tuple[SealFile, RootKey]:
    """A new random root key for `region`, with one slot for each maker.

    Raises:
        Refusal: `NoSlots` without makers, `TooManySlots` with more than 32, `WeakPassphrase`.
    """
    if not makers:
        raise Refusal("NoSlots", "a seal needs at least one way to open it", hint="give a key file or a passphrase")
    _check_count(len(makers))
    root = RootKey(secrets.token_bytes(kdf.KEY_BYTES), region)
    slots = tuple(_new_slot(root, maker, now) for maker in makers)
    return _signed(SealFile(region, 1, slots), root), root


def open(seal: SealFile, opener: Opener) -> RootKey:
    """The root key, by the first slot of the opener's kind that opens. Passphrases cost their time per slot tried.

    Raises:
        Unreadable: no slot opens with it, or the seal was changed.
    """
    for slot in seal.slots:
        if slot.kind == opener.kind and (root := _try(seal.region, slot, opener)) is not None:
            if not kdf.mac_matches(_mac_key(root), seal.body(), seal.mac):
                root.wipe()
                raise Unreadable
            return root
    raise Unreadable


def open_slot(seal: SealFile, slot: Slot, opener: Opener) -> RootKey:
    """As `open`, by this slot and no other. Raises: Unreadable."""
    root = _try(seal.region, slot, opener)
    if root is None:
        raise Unreadable
    try:
        _verify(seal, root)
    except Unreadable:
        root.wipe()
        raise
    return root


def replace_root(seal: SealFile, makers: Sequence[Maker], now: datetime) -> tuple[SealFile, RootKey]:
    """A new random root key for the region of `seal`, with one slot for each maker; generations go on.

    Raises:
        Refusal: as `create`.
    """
    made, root = create(seal.region, makers, now)
    return _signed(replace(made, generation=seal.generation + 1), root), root


def add_slot(seal: SealFile, root: RootKey, maker: Maker, now: datetime) -> SealFile:
    """The seal with one more slot.

    Raises:
        Unreadable: `root` is not this seal's, or the seal was changed.
        Refusal: `TooManySlots`, `WeakPassphrase`.
    """
    _verify(seal, root)
    _check_count(len(seal.slots) + 1)
    slots = (*seal.slots, _new_slot(root, maker, now))
    return _signed(replace(seal, generation=seal.generation + 1, slots=slots), root)


def remove_slot(seal: SealFile, root: RootKey, slot_id: str) -> SealFile:
    """The seal without that slot. Copies of the older file are not called back.

    Raises:
        Unreadable: `root` is not this seal's, or the seal was changed.
        Refusal: `NoSuchSlot`, or `LastSlot`: one must remain.
    """
    _verify(seal, root)
    slots = tuple(slot for slot in seal.slots if slot.id != slot_id)
    if len(slots) == len(seal.slots):
        raise Refusal("NoSuchSlot", f"the seal has no slot {slot_id!r}", kind="not_found")
    if not slots:
        raise Refusal("LastSlot", "the last slot cannot be removed", hint="add another one first", kind="conflict")
    return _signed(replace(seal, generation=seal.generation + 1, slots=slots), root)


def _new_slot(root: RootKey, maker: Maker, now: datetime) -> Slot:
    slot_id = secrets.token_hex(8)
    means, key = maker.make(slot_id)
    empty = Slot(slot_id, maker.kind, maker.label, isoformat(now), b"", means)
    kek = Kek(key, f"{_KEY_ID}/{slot_id}", 1)
    return replace(empty, wrapped=kek.seal(root._reveal(), _binding(root.region, empty)))


def _try(region: str, slot: Slot, opener: Opener) -> RootKey | None:
    try:
        kek = Kek(opener.slot_key(slot), f"{_KEY_ID}/{slot.id}", 1)
        return RootKey(kek.open(slot.wrapped, _binding(region, slot)), region)
    except Unreadable:
        return None


def _binding(region: str, slot: Slot) -> Binding:
    means = None if slot.means is None else means_fields(slot.means)
    # The first kinds were bound with this name whether they had it or not.
    name = MEANS[slot.kind] or "argon2id"
    return Binding("root-key", "", region, slot.id, "", canonical.encode({"kind": slot.kind, name: means}))


def _signed(seal: SealFile, root: RootKey) -> SealFile:
    return seal.signed(kdf.mac(_mac_key(root), seal.body()))


def _verify(seal: SealFile, root: RootKey) -> None:
    if not kdf.mac_matches(_mac_key(root), seal.body(), seal.mac):
        raise Unreadable


def _mac_key(root: RootKey) -> bytes:
    return kdf.subkey(root._reveal(), _MAC_PURPOSE, root.region.encode())


def _check_count(count: int) -> None:
    if count > MAX_SLOTS:
        raise Refusal("TooManySlots", f"a seal has at most {MAX_SLOTS} slots", kind="conflict")
