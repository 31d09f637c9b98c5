"""The slots of a region's seal, changed on its own machine: added, taken away, exchanged, whether it runs or not.

Nothing that runs is touched: processes hold the root key itself, and the file is read at the next start. Each change is
one rename of a file that is durable already, under a lock, recorded before and after. Killed at any write, the region
opens by the old slots or by the new ones. A slot is taken away only after another one has been seen to open the file as
it is then on disk.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.store import SqlStore
from keystead.core.clock import Clock, SystemClock
from keystead.core.errors import Refusal, Unreadable
from keystead.seal import service as sealing
from keystead.seal.model import Quorum, SealFile, Slot
from keystead.seal.openers import KeyFile, Maker, Opener
from keystead.seal.service import RootKey
from keystead.server.operator import operator_entry
from keystead.server.process.locks import Lock
from keystead.server.sealing.unseal import SEAL_NAME, read_seal
from keystead.server.settings import Effective, parse
from keystead.server.state.building import make_parents, sync, write
from keystead.server.state.opening import open_state

LOCK_NAME: Final = "seal.lock"
PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to."""

    seal: SealFile
    added: Slot | None = None
    removed: Slot | None = None


def slots(effective: Effective) -> tuple[Slot, ...]:
    """The slots as they are on disk. Raises: Refusal `InvalidSealFile`."""
    return read_seal(effective.state / SEAL_NAME).slots


def add(effective: Effective, opener: Opener, maker: Maker, show: Callable[[], None], clock: Clock) -> Changed:
    """One more slot. `show` gives people what they must keep; only after it the slot comes to be.

    Raises:
        Refusal: `WrongRootKey`: `opener` does not open the seal; `TooManySlots`, `WeakPassphrase`, `AlreadyRunning`.
    """
    with lock(effective):
        seal, root = open_seal(effective, opener)
        try:
            made = sealing.add_slot(seal, root, maker, clock.now())
            show()
            slot = made.slots[-1]
            _change(effective, made, "AddSealSlot", slot, clock)
        finally:
            root.wipe()
        return Changed(made, added=slot)


def remove(effective: Effective, opener: Opener, slot_id: str, clock: Clock) -> Changed:
    """One slot less. `opener` must open another slot than that: nobody saws off the branch they sit on.

    Raises:
        Refusal: `WrongRootKey`, `NoSuchSlot`, `LastSlot`, `OnlyThisSlot`, `AlreadyRunning`.
    """
    with lock(effective):
        seal, root = open_seal(effective, opener)
        try:
            made = sealing.remove_slot(seal, root, slot_id)
        finally:
            root.wipe()
        _prove(made, opener)
        slot = next(each for each in seal.slots if each.id == slot_id)
        _change(effective, made, "RemoveSealSlot", slot, clock)
        return Changed(made, removed=slot)


def migrate(
    effective: Effective,
    opener: Opener,
    old: str,
    maker: Maker,
    show: Callable[[], None],
    prove: Callable[[], Opener],
    key_file: Path | None,
    clock: Clock,
) -> Changed:
    """Exchange slot `old` for a new one: add, see it open what is on disk, change the settings, take the old away.

    `prove` gives what opens the new slot, from the people who will have to. `key_file`: the new slot is of this file,
    and the settings shall name it. Killed anywhere, the region opens by the old slot or by the new one.

    Raises:
        Refusal: as `add` and `remove`; `NotProven`: the old slot stays, and so does the new one.
    """
    with lock(effective):
        seal, root = open_seal(effective, opener)
        try:
            gone = next((slot for slot in seal.slots if slot.id == old), None)
            if gone is None:
                raise Refusal("NoSuchSlot", f"the seal has no slot {old!r}", kind="not_found")
            wider = sealing.add_slot(seal, root, maker, clock.now())
            show()
            added = wider.slots[-1]
            _change(effective, wider, "AddSealSlot", added, clock)
            _see_open(effective, prove)
            narrower = sealing.remove_slot(wider, root, old)
            if key_file is not None:
                name_key_file(effective, key_file)
            elif gone.kind == "key-file" and not fits(narrower, ("key-file",)):
                name_key_file(effective, None)
            _change(effective, narrower, "RemoveSealSlot", gone, clock)
        finally:
            root.wipe()
        return Changed(narrower, added, gone)


def name_key_file(effective: Effective, path: Path | None) -> None:
    """Write `[unseal] key_file` into the settings file, and leave all else in it as it is."""
    lines = effective.file.read_text().splitlines()
    said = f"key_file = {json.dumps(str(path) if path else '')}"
    begin = next((at for at, line in enumerate(lines) if line.strip() == "[unseal]"), None)
    if begin is None:
        lines += ["", "[unseal]", said]
    else:
        end = next((at for at in range(begin + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
        there = [at for at in range(begin + 1, end) if lines[at].split("=")[0].strip() == "key_file"]
        if there:
            lines[there[0]] = said
        else:
            lines.insert(begin + 1, said)
    content = ("\n".join(lines) + "\n").encode()
    parse(content, effective.file, {})  # what we write is read at the next start
    _replace(effective.file, content)


def put_key_file(path: Path, key_file: KeyFile) -> None:
    """Write a new key file, durable, before a slot for it exists. Raises: Refusal `KeyFileExists`."""
    make_parents(path.parent, 0o700)
    try:
        write(path, key_file.content().reveal(), 0o400)
    except FileExistsError:
        raise Refusal(
            "KeyFileExists",
            f"there is a file {path} already; it may be another region's only key",
            hint="choose another one",
            kind="conflict",
        ) from None
    sync(path.parent)


def describe(slot: Slot) -> dict[str, object]:
    """A slot for people and scripts. Nothing in it is secret."""
    found: dict[str, object] = {
        "id": slot.id,
        "kind": slot.kind,
        "label": slot.label,
        "created_at": slot.created_at,
        "needs": "",
    }
    if isinstance(slot.means, Quorum):
        found["needs"] = f"{slot.means.threshold} of {slot.means.count} shares of set {slot.means.set}"
    return found


def record(effective: Effective, operation: str, name: str, reason: str, clock: Clock | None = None) -> None:
    """An operator's act on the seal, into the audit trail of every tenancy (by way of the state's outbox)."""
    engine = open_state(effective.state)
    now = clock or SystemClock()
    region = effective.settings.region.name
    try:
        with engine.connect() as connection:
            tenancies = [str(found) for found in connection.execute(sa.select(schema.tenancies.c.id)).scalars()]
        entries = [
            operator_entry(
                operation, now, region, tenancy=tenancy, resource_type="seal", resource_name=name, reason=reason
            )
            for tenancy in tenancies
        ]
        with SqlStore(engine, now).write(*entries):
            pass
    finally:
        engine.dispose()


def replace_seal(path: Path, seal: SealFile) -> None:
    """The seal file anew: the old one or the new one is there, whenever the power goes."""
    _replace(path, seal.encode())


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # left by one that was killed; the lock is ours
    write(beside, content)
    beside.rename(path)
    sync(path.parent)


def _see_open(effective: Effective, prove: Callable[[], Opener]) -> None:
    try:
        sealing.open(read_seal(effective.state / SEAL_NAME), prove()).wipe()
    except Refusal as error:
        raise Refusal(
            "NotProven",
            f"the new slot was not seen to open the seal: {error.message}",
            hint="both slots are there; try the new one (`keystead recovery drill`), then `keystead seal remove`",
            kind="conflict",
        ) from None


def lock(effective: Effective) -> Lock:
    """Held while the seal is changed. Raises: Refusal `AlreadyRunning`."""
    return Lock(effective.runtime / LOCK_NAME, "a change of the seal", PATIENCE_SECONDS)


def open_seal(effective: Effective, opener: Opener) -> tuple[SealFile, RootKey]:
    """The seal as it is on disk, and the root key. Raises: Refusal `WrongRootKey`."""
    seal = read_seal(effective.state / SEAL_NAME)
    try:
        return seal, sealing.open(seal, opener)
    except Unreadable:
        raise Refusal(
            "WrongRootKey",
            f"this {opener.kind} does not open this region ({effective.state / SEAL_NAME})",
            hint="it is another region's, or its slot was taken away; nothing was changed",
        ) from None


def _prove(seal: SealFile, opener: Opener) -> None:
    try:
        sealing.open(seal, opener).wipe()
    except Unreadable:
        raise Refusal(
            "OnlyThisSlot",
            "a slot is taken away with another one that opens, and this one would be gone",
            hint="open with what shall remain, e.g. the new key file or the new shares",
            kind="conflict",
        ) from None


def _change(effective: Effective, seal: SealFile, operation: str, slot: Slot, clock: Clock) -> None:
    """Intent, the change, and what came of it: the file is no part of the state's transaction."""
    what = f"{slot.kind} slot {slot.id}, generation {seal.generation}"
    record(effective, operation, slot.label, f"about to: {what}", clock)
    replace_seal(effective.state / SEAL_NAME, seal)
    record(effective, operation, slot.label, f"done: {what}", clock)


def fits(seal: SealFile, kinds: Sequence[str]) -> bool:
    """Whether the seal has a slot of one of these kinds."""
    return any(slot.kind in kinds for slot in seal.slots)


def is_there(path: Path) -> bool:
    """Whether there is a file that we may read."""
    return os.access(path, os.R_OK)
