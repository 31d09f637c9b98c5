"""The slots of a region on disk: added, taken away, exchanged, whatever happens in between."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.conftest import make

from keystead.adapters.sql.engine import sqlite_engine
from keystead.adapters.sql.store import SqlStore
from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal, Unreadable
from keystead.seal import service as sealing
from keystead.seal.openers import Identity, KeyFile, NewShares, Opener, Shares
from keystead.server import init as making
from keystead.server import settings
from keystead.server.init import Made, Wanted
from keystead.server.sealing import slots
from keystead.server.sealing.unseal import open_root, read_key_file, read_seal
from keystead.server.settings import Effective
from keystead.server.state.opening import STATE_FILE

CLOCK = SystemClock()


def key_file_of(region: Effective) -> KeyFile:
    assert region.key_file is not None
    return read_key_file(region.key_file)


def seal_of(region: Effective) -> sealing.SealFile:
    return read_seal(region.state / "seal.json")


def subkey(region: Effective, opener: Opener) -> bytes:
    return sealing.open(seal_of(region), opener).subkey("audit").reveal()


def nothing() -> None:
    """Nobody has to keep anything."""


def recorded(region: Effective) -> list[tuple[str, str]]:
    engine = sqlite_engine(region.state / STATE_FILE)
    try:
        return [(entry.operation, entry.reason) for _, entry in SqlStore(engine, CLOCK).outbox(0)]
    finally:
        engine.dispose()


def test_shares_are_added_and_open(region: Effective) -> None:
    before = subkey(region, key_file_of(region))
    new = NewShares(2, 3, "board")
    done = slots.add(region, key_file_of(region), new, nothing, CLOCK)
    assert done.added is not None
    assert slots.describe(done.added)["needs"] == f"2 of 3 shares of set {new.quorum.set}"
    assert subkey(region, Shares(new.shares[1:])) == before
    said = [reason for operation, reason in recorded(region) if operation == "AddSealSlot"]
    assert [reason.split(":")[0] for reason in said] == ["about to", "done"]


def test_nobody_adds_without_opening(region: Effective) -> None:
    before = (region.state / "seal.json").read_bytes()
    with pytest.raises(Refusal) as caught:
        slots.add(region, KeyFile.generate(), NewShares(2, 3), nothing, CLOCK)
    assert caught.value.code == "WrongRootKey"
    assert (region.state / "seal.json").read_bytes() == before


def test_who_was_not_shown_their_shares_has_no_slot(region: Effective) -> None:
    def fails() -> None:
        raise OSError("the terminal is gone")

    before = (region.state / "seal.json").read_bytes()
    with pytest.raises(OSError, match="terminal"):
        slots.add(region, key_file_of(region), NewShares(2, 3), fails, CLOCK)
    assert (region.state / "seal.json").read_bytes() == before


def test_a_slot_is_taken_away_with_another(region: Effective, template: Made) -> None:
    first = seal_of(region).slots[0]
    with pytest.raises(Refusal) as caught:
        slots.remove(region, key_file_of(region), first.id, CLOCK)
    assert caught.value.code == "OnlyThisSlot"
    identity = Identity.generate()
    slots.add(region, key_file_of(region), identity.recipient("safe"), nothing, CLOCK)
    slots.remove(region, identity, first.id, CLOCK)
    with pytest.raises(Unreadable):
        sealing.open(seal_of(region), key_file_of(region))
    sealing.open(seal_of(region), identity)
    open_root(region, template.passphrase)


def test_from_key_file_to_shares_and_back(region: Effective, tmp_path: Path) -> None:
    before = subkey(region, key_file_of(region))
    new = NewShares(3, 5)
    slots.migrate(
        region,
        key_file_of(region),
        seal_of(region).slots[0].id,
        new,
        nothing,
        lambda: Shares(new.shares[:3]),
        None,
        CLOCK,
    )
    now = settings.load(state=region.state, environment={})
    assert now.key_file is None, "the settings name no file that opens nothing"
    assert subkey(now, Shares(new.shares[2:])) == before
    path, made = tmp_path / "again.key", KeyFile.generate()
    shares = seal_of(region).slots[-1].id
    slots.migrate(
        now,
        Shares(new.shares[:3]),
        shares,
        made,
        lambda: slots.put_key_file(path, made),
        lambda: read_key_file(path),
        path,
        CLOCK,
    )
    back = settings.load(state=region.state, environment={})
    assert back.key_file == path
    assert open_root(back).subkey("audit").reveal() == before


def test_what_is_not_seen_to_open_replaces_nothing(region: Effective) -> None:
    old = seal_of(region).slots[0]
    with pytest.raises(Refusal) as caught:
        slots.migrate(
            region, key_file_of(region), old.id, NewShares(2, 3), nothing, lambda: KeyFile.generate(), None, CLOCK
        )
    assert caught.value.code == "NotProven"
    sealing.open(seal_of(region), key_file_of(region))


def test_the_rest_of_the_settings_stays(region: Effective) -> None:
    region.file.write_text('# mine\n[listen]\nport = 9000\n\n[unseal]\n# here\nkey_file = "/a"\n\n[audit]\n')
    slots.name_key_file(region, Path("/b"))
    assert region.file.read_text() == (
        '# mine\n[listen]\nport = 9000\n\n[unseal]\n# here\nkey_file = "/b"\n\n[audit]\n'
    )
    region.file.write_text("[listen]\nport = 9000\n")
    slots.name_key_file(region, None)
    assert settings.load(state=region.state, environment={}).key_file is None


WRITES = ("write", "rename", "fsync", "link", "unlink", "commit")


def killed_at(count: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed at its `count`-th write; False when it came to its end."""
    child = os.fork()
    if not child:
        left = count

        def hook(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.remove", "os.link", "sqlite3.connect"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_killed_at_every_write_of_a_migration(region: Effective, template: Made, tmp_path: Path) -> None:
    """The old slot opens, or the new one; the passphrase always; and the settings are those of one that opens."""
    before = subkey(region, key_file_of(region))
    old_key = key_file_of(region)
    path, made = tmp_path / "next.key", KeyFile.generate()
    original = {name: (region.state / name).read_bytes() for name in ("seal.json", "keystead.toml")}
    old_slot = seal_of(region).slots[0].id

    def work() -> None:
        show = lambda: slots.put_key_file(path, made)  # noqa: E731
        slots.migrate(region, old_key, old_slot, made, show, lambda: read_key_file(path), path, CLOCK)

    count = 0
    went_to_the_new = 0
    while killed_at(count, work):
        now = settings.load(state=region.state, environment={})
        opened = []
        for opener in (old_key, made):
            try:
                opened.append(subkey(now, opener))
            except Unreadable:
                continue
        assert opened, f"neither opens, killed at {count}"
        assert set(opened) == {before}
        assert open_root(now).subkey("audit").reveal() == before, "what the settings name opens"
        assert open_root(now, template.passphrase).subkey("audit").reveal() == before
        went_to_the_new += now.key_file == path
        for name, content in original.items():
            (region.state / name).write_bytes(content)
        path.unlink(missing_ok=True)
        count += 1
    assert count > 12, "the writes are seen"
    assert went_to_the_new
    assert len(seal_of(region).slots) == 2


@pytest.mark.usefixtures("cheap")
def test_recovery_recipients_are_chosen_at_init(tmp_path: Path) -> None:
    identity = Identity.generate()
    (tmp_path / "safe.pub").write_bytes(identity.recipient().content())
    wanted = Wanted(
        tmp_path / "state",
        settings.build({"unseal": {"key_file": str(tmp_path / "root.key")}}),
        "acme",
        "olivia",
        recovery_shares=(2, 3),
        recovery_recipients=(tmp_path / "safe.pub",),
    )
    shown: list[Made] = []
    made = making.init(wanted, shown.append)
    assert made.shares is not None
    (tmp_path / "root.key").unlink()
    roots = [sealing.open(seal_of(made.effective), opener) for opener in (identity, Shares(made.shares.shares[:2]))]
    assert roots[0].subkey("audit") == roots[1].subkey("audit")
    for share in made.shares.shares:
        words = share.text.reveal().decode()
        assert words not in json.dumps(made.credentials()) + repr(made)


def test_a_region_without_recipients_has_two_slots(tmp_path: Path, cheap: None) -> None:
    made = make(tmp_path / "state", tmp_path / "root.key")
    assert [slot.kind for slot in seal_of(made.effective).slots] == ["key-file", "passphrase"]
