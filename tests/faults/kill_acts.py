"""What is under way when a process is killed, and what may be true afterwards.

Each act says before it begins what it is about to do (`Pending`); whoever opens the state next finds out whether it
happened. Both are fine unless somebody was told; nothing in between ever is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from keystead.core.errors import KeysteadError, Refusal
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto import transport
from keystead.iam.model import Caller
from keystead.seal.openers import KeyFile
from keystead.seal.service import _try
from keystead.server.sealing import slots
from keystead.server.sealing.unseal import SEAL_NAME, read_key_file, read_seal
from keystead.server.state.opening import STATE_FILE
from keystead.server.wiring import Region
from keystead.vault.ports import Stored
from keystead.vault.transfer.importing import Wrapped

WAY = "HPKE-X25519-MLKEM768"


class Wrong(Exception):
    """What must never be."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A ciphertext that somebody was given."""

    number: int
    blob: bytes
    plaintext: bytes
    associated: bytes


@dataclass
class KeyModel:
    """A key as whoever uses it knows it."""

    id: str
    current: int = 1
    blobs: list[Blob] = field(default_factory=list)
    gone: bool = False
    backup: bytes = b""


@dataclass(frozen=True, slots=True)
class Pending:
    """An act under way: its request's id, and what the next process needs to find out what became of it."""

    act: str
    request: str
    facts: Mapping[str, Any]
    acked: bool = False
    result: Any = None


@dataclass
class Model:
    """All that was acknowledged."""

    vault: str
    keys: dict[str, KeyModel] = field(default_factory=dict)
    pending: Pending | None = None
    requests: list[str] = field(default_factory=list)

    def apply(self, fact: tuple[Any, ...]) -> None:
        """One thing that somebody was told."""
        match fact:
            case ("key", key_id):
                self.keys[key_id] = KeyModel(key_id)
            case ("current", key_id, number):
                self.keys[key_id].current = number
            case ("blob", key_id, blob, request):
                self.keys[key_id].blobs.append(blob)
                self.requests.append(request)
            case ("gone", key_id):
                self.keys[key_id].gone = True
            case ("back", key_id):
                self.keys[key_id].gone = False
            case ("backup", key_id, blob):
                self.keys[key_id].backup = blob
            case ("pending", pending):
                self.pending = pending
            case ("acked", result):
                assert self.pending is not None
                self.pending = replace(self.pending, acked=True, result=result)
            case ("settled", _happened):
                self.pending = None
            case _:
                pass


class Bench:
    """A region open in this process, and somebody who may do everything."""

    def __init__(self, region: Region, admin: Caller, model: Model, trial: int, rng: Random, tell: Callable[..., None]):
        self.region, self.vaults, self.model, self.rng, self.trial = region, region.vaults, model, rng, trial
        self.tenancy = str(admin.principal.tenancy)
        self.admin, self._tell, self._count = admin, tell, 0

    def caller(self) -> Caller:
        self._count += 1
        return replace(self.admin, request_id=f"trial-{self.trial}-{self._count}.")

    def tell(self, *fact: Any) -> None:
        self.model.apply(fact)
        self._tell(fact)

    def live(self) -> KeyModel:
        """A key that can be used; made when there is none."""
        found = [key for key in self.model.keys.values() if not key.gone]
        return self.rng.choice(found) if found else self.made()

    def made(self, vault: str = "") -> KeyModel:
        """A new key with a ciphertext."""
        key = self.vaults.create_key(
            self.caller(), self.tenancy, vault or self.model.vault, f"s{self.trial}-{self._count}"
        )
        self.tell("key", str(key.id))
        self.encrypt(self.model.keys[key.id])
        return self.model.keys[key.id]

    def encrypt(self, key: KeyModel) -> None:
        """A ciphertext, acknowledged as a request is: after its audit entry is written."""
        caller, plaintext, associated = self.caller(), self.rng.randbytes(32), self.rng.randbytes(8)
        sealed = self.vaults.encrypt(caller, key.id, plaintext, associated)
        self.region.log.barrier().wait(30)
        blob = Blob(sealed.key_version, sealed.blob, plaintext, associated)
        self.tell("blob", key.id, blob, caller.request_id)

    def state(self, key_id: str) -> str:
        return str(self.vaults.get_key(self.caller(), key_id).state)

    def named(self, name: str) -> Any:
        found = self.vaults.list_keys(self.caller(), self.tenancy, PageRequest(2), name).items
        expect(len(found) < 2, f"{len(found)} keys of one name")
        return found[0] if found else None

    def rows(self, key_id: str) -> list[Any]:
        """The versions as they are stored."""
        with self.region.store.read() as tx:
            return list(tx.vault.versions(self.tenancy, key_id))

    def bring_back(self, key_id: str) -> None:
        """Whatever state it is in, so that it can be used."""
        state = self.state(key_id)
        if state == "PENDING_DELETION":
            self.vaults.cancel_deletion(self.caller(), key_id)
        elif state == "DELETED":
            self.vaults.recover(self.caller(), key_id)
        if state != "ENABLED":
            self.vaults.enable(self.caller(), key_id)

    def check_opens(self, key: KeyModel) -> None:
        for each in key.blobs:
            opened = self.vaults.decrypt(self.caller(), key.id, each.blob, each.associated)
            expect(opened == each.plaintext, f"version {each.number} of {key.id} opens to something else")

    def check_gone(self, key: KeyModel) -> None:
        """A tombstone: nothing left to open with, known again by its fingerprint, and refused as destroyed."""
        expect(self.state(key.id) == "PURGED", f"{key.id} is not PURGED")
        for row in self.rows(key.id):
            expect(not row.wrapped and row.state == "DELETED", f"version {row.number} of {key.id} is not destroyed")
            with self.region.store.read() as tx:
                known = tx.vault.of_material(self.tenancy, row.fingerprint)
                expect(any(found.state == "DELETED" for _, found in known), "its fingerprint is forgotten")
        for each in key.blobs:
            code = refusal(lambda each=each: self.vaults.decrypt(self.caller(), key.id, each.blob, each.associated))
            expect(code == "KeyNotUsable", f"a destroyed key is refused with {code}")

    def check_everything(self) -> None:
        for key in self.model.keys.values():
            if key.gone:
                self.check_gone(key)
            else:
                self.bring_back(key.id)
                self.check_opens(key)

    def recorded(self, request: str) -> bool:
        """Whether the state has an entry of that request (law 2)."""
        after = 0
        while page := self.region.store.outbox(after, 500):
            if any(entry.request_id == request for _, entry in page):
                return True
            after = page[-1][0]
        return False

    def nowhere(self, wrapped: list[bytes]) -> None:
        """After the next scrub, nothing of it is in the files."""
        self.region.store.scrub()
        for path in self.region.effective.state.glob(f"{STATE_FILE}*"):
            content = path.read_bytes()
            expect(not any(one in content for one in wrapped), f"material that was destroyed is still in {path.name}")


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Wrong(otherwise)


def refusal(call: Callable[[], object]) -> str:
    """With which code it is refused; empty: it is not."""
    try:
        call()
    except KeysteadError as error:
        return error.code
    return ""


@dataclass(frozen=True, slots=True)
class Act:
    """`begin` prepares, and returns what to say beforehand and what to do; `settle` finds out whether it happened."""

    begin: Callable[[Bench], tuple[dict[str, Any], Callable[[Caller], Any]]]
    settle: Callable[[Bench, Pending], bool]
    audited: bool = True


def begin_create(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    name, vault = f"c{bench.trial}", bench.model.vault
    return {"name": name}, lambda caller: str(bench.vaults.create_key(caller, bench.tenancy, vault, name).id)


def settle_create(bench: Bench, pending: Pending) -> bool:
    found = bench.named(pending.facts["name"])
    if found is not None:
        rows = bench.rows(found.id)
        expect(len(rows) == 1 and bool(rows[0].wrapped), "a key without its version")
        bench.tell("key", str(found.id))
        bench.encrypt(bench.model.keys[found.id])
    return found is not None


def begin_rotate(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id, "before": key.current}, lambda caller: bench.vaults.rotate(caller, key.id).current


def settle_rotate(bench: Bench, pending: Pending) -> bool:
    key, before = pending.facts["key"], pending.facts["before"]
    now = bench.vaults.get_key(bench.caller(), key).current
    expect(now in (before, before + 1), f"version {now} after {before}")
    rows = bench.rows(key)
    expect([row.number for row in rows] == list(range(1, now + 1)), "versions are missing or too many")
    expect(all(row.wrapped for row in rows), "a version without material")
    bench.tell("current", key, now)
    if now > before:
        bench.encrypt(bench.model.keys[key])
    return now > before


def wrapped_for(bench: Bench, made: Any) -> tuple[bytes, Wrapped]:
    material = bench.rng.randbytes(32)
    return material, Wrapped(made.id, transport.wrap(made.way, made.public, Secret(material)))


def begin_import(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    name, vault = f"i{bench.trial}", bench.model.vault
    made = bench.vaults.create_wrapping_key(bench.caller(), vault, "AES-256", WAY)
    material, wrapped = wrapped_for(bench, made)
    facts = {"name": name, "material": material, "wrapped": wrapped}
    return facts, lambda caller: bench.vaults.import_key(caller, bench.tenancy, vault, name, wrapped).check_value


def settle_import(bench: Bench, pending: Pending) -> bool:
    """Not done: the wrapping key still serves. Done: it has ended, and the key is the one that was brought."""
    facts, vault = pending.facts, bench.model.vault
    found = bench.named(facts["name"])
    happened = found is not None
    again = lambda: bench.vaults.import_key(bench.caller(), bench.tenancy, vault, facts["name"], facts["wrapped"])  # noqa: E731
    if found is None:
        found = again().key
    expect(refusal(again) == "WrappingKeyEnded", "a wrapping key served twice")
    check_material(bench, found, bench.rows(found.id)[-1], facts["material"])
    bench.tell("key", str(found.id))
    bench.encrypt(bench.model.keys[found.id])
    return happened


def begin_import_version(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    made = bench.vaults.create_version_wrapping_key(bench.caller(), key.id, WAY)
    material, wrapped = wrapped_for(bench, made)
    facts = {"key": key.id, "before": key.current, "material": material, "wrapped": wrapped}
    return facts, lambda caller: bench.vaults.import_version(caller, key.id, wrapped).version.number


def settle_import_version(bench: Bench, pending: Pending) -> bool:
    happened = settle_rotate(bench, pending)
    key, wrapped = pending.facts["key"], pending.facts["wrapped"]
    if not happened:
        number = bench.vaults.import_version(bench.caller(), key, wrapped).version.number
        bench.tell("current", key, number)
    expect(
        refusal(lambda: bench.vaults.import_version(bench.caller(), key, wrapped)) == "WrappingKeyEnded", "served twice"
    )
    found = bench.vaults.get_key(bench.caller(), key)
    check_material(bench, found, bench.rows(key)[-1], pending.facts["material"])
    return happened


def check_material(bench: Bench, key: Any, row: Any, material: bytes) -> None:
    keyring = bench.region.snapshot.keyring
    bench.region.snapshot.refresh()
    stored = Stored(row.wrapped, row.public, row.fingerprint)
    opened = keyring.software.reveal(keyring.spec(key, row.number), stored)
    expect(opened.reveal() == material, "what was imported is something else")


def begin_delete(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: str(bench.vaults.delete(caller, key.id).state)


def begin_schedule(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: str(bench.vaults.schedule_deletion(caller, key.id, 7).state)


def settle_delete(bench: Bench, pending: Pending) -> bool:
    state = bench.state(pending.facts["key"])
    expect(state in ("ENABLED", "DELETED", "PENDING_DELETION"), f"it is {state}")
    return state != "ENABLED"


def begin_purge(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.made()
    bench.vaults.delete(bench.caller(), key.id)
    facts = {"key": key.id, "wrapped": [row.wrapped for row in bench.rows(key.id)]}
    return facts, lambda caller: str(bench.vaults.purge(caller, key.id).state)


def settle_purge(bench: Bench, pending: Pending) -> bool:
    key = pending.facts["key"]
    state = bench.state(key)
    expect(state in ("DELETED", "PURGED"), f"it is {state}")
    if state == "PURGED":
        bench.tell("gone", key)
        bench.nowhere(pending.facts["wrapped"])
    return state == "PURGED"


def begin_backup(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    return {"key": key.id}, lambda caller: bench.vaults.back_up_key(caller, key.id).blob


def settle_backup(bench: Bench, pending: Pending) -> bool:
    """Whoever was given a backup can have the key back by it: tried at once."""
    key = bench.model.keys[pending.facts["key"]]
    if not pending.acked:
        return bench.recorded(pending.request)
    bench.tell("backup", key.id, pending.result)
    bench.vaults.delete(bench.caller(), key.id)
    bench.vaults.purge(bench.caller(), key.id)
    bench.check_gone(key)
    expect(refusal(lambda: bench.vaults.restore_key(bench.caller(), key.backup)) == "", "the backup does not restore")
    return True


def begin_restore(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    key = bench.live()
    backup = bench.vaults.back_up_key(bench.caller(), key.id).blob
    bench.vaults.delete(bench.caller(), key.id)
    bench.vaults.purge(bench.caller(), key.id)
    bench.tell("gone", key.id)
    bench.tell("backup", key.id, backup)
    return {"key": key.id}, lambda caller: str(bench.vaults.restore_key(caller, backup).key.state)


def settle_restore(bench: Bench, pending: Pending) -> bool:
    key = pending.facts["key"]
    state = bench.state(key)
    expect(state in ("PURGED", "DISABLED"), f"it is {state}")
    if state == "DISABLED":
        bench.tell("back", key)
        expect(all(row.wrapped for row in bench.rows(key)), "restored without all its versions")
    return state == "DISABLED"


def private_vault(bench: Bench) -> tuple[str, KeyModel]:
    vault = bench.vaults.create_vault(bench.caller(), bench.tenancy, f"v{bench.trial}", kind="private").id
    return str(vault), bench.made(vault)


def begin_purge_vault(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    vault, key = private_vault(bench)
    bench.vaults.delete_vault(bench.caller(), vault)
    facts = {"key": key.id, "vault": vault, "wrapped": [row.wrapped for row in bench.rows(key.id)]}
    return facts, lambda caller: str(bench.vaults.purge_vault(caller, vault).state)


def settle_purge_vault(bench: Bench, pending: Pending) -> bool:
    facts = pending.facts
    state = bench.vaults.get_vault(bench.caller(), facts["vault"]).state
    expect(state in ("DELETED", "PURGED"), f"it is {state}")
    if state == "PURGED":
        bench.tell("gone", facts["key"])
        bench.nowhere(facts["wrapped"])
    else:
        bench.vaults.recover_vault(bench.caller(), facts["vault"])
    return state == "PURGED"


def begin_restore_vault(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    vault, key = private_vault(bench)
    backup = bench.vaults.back_up_vault(bench.caller(), vault).blob
    bench.vaults.delete_vault(bench.caller(), vault)
    bench.vaults.purge_vault(bench.caller(), vault)
    bench.tell("gone", key.id)
    bench.tell("backup", key.id, backup)
    return {"key": key.id}, lambda caller: bench.vaults.restore_vault(caller, backup).restored


def settle_restore_vault(bench: Bench, pending: Pending) -> bool:
    """The vault comes first, then its keys; a second attempt brings what is not there yet."""
    key = bench.model.keys[pending.facts["key"]]
    happened = bench.state(key.id) == "DISABLED"
    again = bench.vaults.restore_vault(bench.caller(), key.backup)
    expect((again.restored, again.present) == ((0, 1) if happened else (1, 0)), f"a second restore: {again}")
    bench.tell("back", key.id)
    return happened


def begin_migrate(bench: Bench) -> tuple[dict[str, Any], Callable[[Caller], Any]]:
    effective = bench.region.effective
    assert effective.key_file is not None
    old, new = read_key_file(effective.key_file), KeyFile.generate()
    path = effective.state.parent / f"root-{bench.trial}.key"
    slot = slot_of(bench, old)

    def run(_caller: Caller) -> str:
        show = lambda: slots.put_key_file(path, new)  # noqa: E731
        clock = bench.region.clock
        return str(slots.migrate(effective, old, slot, new, show, lambda: read_key_file(path), path, clock).seal.region)

    return {"old": effective.key_file, "new": path}, run


def slot_of(bench: Bench, opener: KeyFile) -> str:
    """Which slot this key file opens."""
    seal = read_seal(bench.region.effective.state / SEAL_NAME)
    found = [slot.id for slot in seal.slots if slot.kind == "key-file" and _try(seal.region, slot, opener) is not None]
    expect(len(found) == 1, f"the key file opens {len(found)} slots")
    return str(found[0])


def settle_migrate(bench: Bench, pending: Pending) -> bool:
    """That the region is open shows that what the settings name opens it. Slots that nobody needs go."""
    effective = bench.region.effective
    assert effective.key_file in (pending.facts["old"], pending.facts["new"]), effective.key_file
    opener = read_key_file(effective.key_file)
    keep = slot_of(bench, opener)
    for slot in read_seal(effective.state / SEAL_NAME).slots:
        if slot.kind == "key-file" and slot.id != keep:
            slots.remove(effective, opener, slot.id, bench.region.clock)
    return bool(effective.key_file == pending.facts["new"])


ACTS: Mapping[str, Act] = {
    "create": Act(begin_create, settle_create),
    "rotate": Act(begin_rotate, settle_rotate),
    "import": Act(begin_import, settle_import),
    "import a version": Act(begin_import_version, settle_import_version),
    "delete": Act(begin_delete, settle_delete),
    "schedule deletion": Act(begin_schedule, settle_delete),
    "purge": Act(begin_purge, settle_purge),
    "purge a vault": Act(begin_purge_vault, settle_purge_vault),
    "back up": Act(begin_backup, settle_backup),
    "restore": Act(begin_restore, settle_restore),
    "restore a vault": Act(begin_restore_vault, settle_restore_vault, audited=False),  # two transactions
    "migrate the seal": Act(begin_migrate, settle_migrate, audited=False),  # each step has its own
}


def settle(bench: Bench) -> None:
    """Find out what became of the act that was under way. Raises: Wrong."""
    pending = bench.model.pending
    if pending is None:
        return
    act = ACTS[pending.act]
    try:
        happened = act.settle(bench, pending)
    except Refusal as error:
        raise Wrong(f"{error.code}: {error.message}") from error
    expect(happened or not pending.acked, "what was acknowledged did not happen")
    if act.audited:
        expect(bench.recorded(pending.request) == happened, f"happened: {happened}, recorded otherwise")
    bench.tell("settled", happened)
