"""What a trial of killing works on: a region open in this process, and all that was acknowledged about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from keystead.core.errors import KeysteadError
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto import transport
from keystead.iam.model import Caller
from keystead.server.state.opening import STATE_FILE
from keystead.server.wiring import Region
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
    """`begin` prepares, and returns what to say beforehand and what to do; `settle` finds out whether it happened.

    `scrubs`: the log is emptied in the midst of it, and its size afterwards says nothing about what was written.
    """

    begin: Callable[[Bench], tuple[dict[str, Any], Callable[[Caller], Any]]]
    settle: Callable[[Bench, Pending], bool]
    audited: bool = True
    scrubs: bool = False


def wrapped_for(bench: Bench, made: Any) -> tuple[bytes, Wrapped]:
    material = bench.rng.randbytes(32)
    return material, Wrapped(made.id, transport.wrap(made.way, made.public, Secret(material)))
