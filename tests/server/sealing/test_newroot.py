"""A new root key: everything opens as before, under the new one alone, wherever it was killed."""

import os
import signal
import sys
from collections.abc import Callable, Mapping

import pytest
import sqlalchemy as sa
from tests.server.conftest import administrator
from tests.server.sealing.test_slots import key_file_of, nothing, recorded, seal_of

from keystead.adapters.sql import schema
from keystead.adapters.sql.engine import sqlite_engine
from keystead.cli.console import Console
from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.seal import service as sealing
from keystead.seal.model import SealFile
from keystead.seal.openers import Identity, Maker, NewShares, Opener, Passphrase, Shares
from keystead.server import authority
from keystead.server.init import Made
from keystead.server.sealing import commands, newroot, slots, unseal
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.state.opening import STATE_FILE
from keystead.server.wiring import Region, open_region

pytestmark = pytest.mark.slow

CLOCK = SystemClock()
STEPS = [
    "stage", "seal staged", "staged", "rows", "committed",
    "moved seal.json", "moved authority.key", "moved databases-authority.key", "removed",
]  # fmt: skip


class Kept:
    """A region with one of each kind of thing, and what opened before."""

    def __init__(self, region: Effective, template: Made) -> None:
        self.effective, self.template = region, template
        self.identity, self.shares = Identity.generate(), NewShares(2, 3, "board")
        for maker in (self.identity.recipient("safe"), self.shares):
            slots.add(region, key_file_of(region), maker, nothing, CLOCK)
        opened = self.open()
        try:
            caller = administrator(opened, template)
            vaults, tenancy = opened.vaults, template.tenancy_id
            shared = vaults.create_vault(caller, tenancy, "shared").id
            private = vaults.create_vault(caller, tenancy, "private", kind="private").id
            self.keys = [
                vaults.create_key(caller, tenancy, shared, "gold").id,
                vaults.create_key(caller, tenancy, private, "silver").id,
                vaults.create_key(caller, tenancy, shared, "pair", "RSA-2048").id,
            ]
            vaults.rotate(caller, self.keys[0])
            self.blobs = [vaults.wrap(caller, key, b"k" * 32).blob for key in self.keys]
            self.backup = vaults.back_up_key(caller, self.keys[0])
        finally:
            opened.close()
        self.marks = self.fingerprints()

    def open(self) -> Region:
        return open_region(self.effective, open_root(self.effective), "test")

    def fingerprints(self) -> list[bytes]:
        engine = sqlite_engine(self.effective.state / STATE_FILE)
        try:
            with engine.connect() as connection:
                found = sa.select(schema.key_versions.c.fingerprint).order_by(schema.key_versions.c.id)
                return list(connection.execute(found).scalars())
        finally:
            engine.dispose()

    def makers(self, seal: SealFile) -> Mapping[str, Maker]:
        held: list[Opener] = [key_file_of(self.effective), Shares(self.shares.shares[:2])]
        return _again(self.effective, seal, held)

    def rotate(self, at: Callable[[str], None] = lambda _: None) -> newroot.Replaced:
        return newroot.replace(self.effective, key_file_of(self.effective), self.makers, CLOCK, at)

    def check(self) -> None:
        """Everything that opened before opens now."""
        root = open_root(self.effective)
        for kind in authority.KINDS:
            authority.load(self.effective.state, root, kind)
        opened = self.open()
        try:
            caller = administrator(opened, self.template)
            for key, blob in zip(self.keys, self.blobs, strict=True):
                assert opened.vaults.unwrap(caller, key, blob) == b"k" * 32
            kept = opened.vaults._tried(self.backup.blob, caller.principal.tenancy)
            assert kept.keys[0].key.id == self.keys[0]
            kept.wipe()
        finally:
            opened.close()
        assert self.fingerprints() == self.marks, "destroyed material is known again"
        assert not (self.effective.state / newroot.STAGE).exists()
        seal = seal_of(self.effective)
        one = sealing.open(seal, key_file_of(self.effective)).subkey("audit")
        assert one == sealing.open(seal, self.identity).subkey("audit")
        assert one == sealing.open(seal, Shares(self.shares.shares[1:])).subkey("audit")


def _again(effective: Effective, seal: SealFile, held: list[Opener]) -> Mapping[str, Maker]:
    kept = (slot for slot in seal.slots if slot.kind != "passphrase")
    return {slot.id: commands._again(effective, seal, slot, held, commands.Opening()) for slot in kept}


def quiet_console() -> Console:
    made = Console()
    made.json = True
    return made


@pytest.fixture(autouse=True)
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command does to its process must not be done to that of the tests."""
    monkeypatch.setattr(commands.confine, "confine", lambda: None)


@pytest.fixture
def kept(region: Effective, template: Made) -> Kept:
    return Kept(region, template)


def test_everything_opens_under_the_new_root_key_and_nothing_under_the_old(kept: Kept) -> None:
    old_seal, old = seal_of(kept.effective), open_root(kept.effective)
    before = old.subkey("audit")
    engine = sqlite_engine(kept.effective.state / STATE_FILE)
    done = kept.rotate()
    assert done.seal.generation == old_seal.generation + 1
    assert [slot.kind for slot in done.dropped] == ["passphrase"]
    assert done.wrapped["key versions"] >= 3 and done.wrapped["private vaults"] == 1
    kept.check()
    assert open_root(kept.effective).subkey("audit") != before
    with pytest.raises(Unreadable):
        newroot._Rewrapping(engine, old, open_root(kept.effective), CLOCK).versions(engine.connect())
    with pytest.raises(Refusal):
        authority.load(kept.effective.state, old, authority.API)
    engine.dispose()
    assert [reason.split(":")[0] for act, reason in recorded(kept.effective) if act == "ReplaceRootKey"] == [
        "about to",
        "done",
    ]


def test_twice_and_the_oldest_backup_still_opens(kept: Kept) -> None:
    kept.rotate()
    kept.rotate()
    kept.check()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step(kept: Kept, step: str) -> None:
    before = open_root(kept.effective).subkey("audit")

    def die(found: str) -> None:
        if found == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            kept.rotate(die)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    newroot.settle(kept.effective)
    kept.check()
    changed = open_root(kept.effective).subkey("audit") != before
    assert changed == (STEPS.index(step) >= STEPS.index("committed"))
    kept.rotate()
    kept.check()


def test_a_slot_that_nobody_can_open_is_not_left_behind_unsaid(kept: Kept) -> None:
    before = seal_of(kept.effective)
    with pytest.raises(Refusal) as caught:
        newroot.replace(
            kept.effective,
            key_file_of(kept.effective),
            lambda seal: _again(
                kept.effective, seal, [key_file_of(kept.effective), Shares(NewShares(2, 3).shares[:2])]
            ),
            CLOCK,
        )
    assert caught.value.code in ("SlotNotPresent", "NothingGiven")
    assert seal_of(kept.effective) == before
    kept.check()


def test_passphrases_and_shares_are_asked_for(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [kept.template.passphrase, *(share.text for share in kept.shares.shares[:2])]
    lines = iter(told)
    for module in (commands, unseal):
        monkeypatch.setattr(module, "ask_secret", lambda **_: Secret(next(lines).reveal()))
    console = quiet_console()
    commands.rotate(console, kept.effective.file, kept.effective.state, commands.Opening(), (), ())
    kinds = [slot.kind for slot in seal_of(kept.effective).slots]
    assert sorted(kinds) == ["key-file", "passphrase", "recipient", "shares"]
    sealing.open(seal_of(kept.effective), Passphrase(kept.template.passphrase.reveal().decode()))
    kept.check()


def test_what_is_dropped_opens_no_more(kept: Kept) -> None:
    seal = seal_of(kept.effective)
    gone = {slot.id for slot in seal.slots if slot.kind in ("passphrase", "shares")}
    commands.rotate(quiet_console(), None, kept.effective.state, commands.Opening(), sorted(gone), ())
    with pytest.raises(Unreadable):
        sealing.open(seal_of(kept.effective), Shares(kept.shares.shares[:2]))
    with pytest.raises(Refusal) as caught:
        commands.rotate(quiet_console(), None, kept.effective.state, commands.Opening(), ["nothing"], ())
    assert caught.value.code == "NoSuchSlot"


def test_nothing_is_replaced_while_the_region_runs(kept: Kept) -> None:
    from keystead.server.up import quiet

    with quiet(kept.effective, "test"), pytest.raises(Refusal) as caught:
        kept.rotate()
    assert caught.value.code == "AlreadyRunning"
